//! YAML text to a tree in which every key and value knows its place.
//!
//! Works on the parser's event stream. Bounded: size of the file, depth, and number of nodes after aliases are
//! followed, so that a few lines cannot become gigabytes. A syntax error and a crossed bound come alone; keys written
//! twice are collected and the first one is kept. What the values mean is decided in [`crate::check`].
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::diagnostic::Diagnostic;
use crate::source::{Place, Source};
use crate::syntax;

/// Largest file that is read; the largest sensible one, 10,000 domains with options, has about 1 MiB.
pub(crate) const SIZE_MAX_BYTES: usize = 4 << 20;

/// Deepest nesting; the deepest sensible value stands at 7.
const DEPTH_MAX: usize = 32;

/// Most nodes after aliases are followed; what 4 MiB can hold without aliases in sensible files.
const NODES_MAX: usize = 400_000;

/// One value of the file.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What a value is made of.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text; `plain` when it was not quoted, so that it may also be a number, a truth value or nothing.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// Says whether this is nothing: `null`, `~`, or no text at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, in words for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { text, plain: true } if is_bool(text).is_some() => "a truth value",
            Value::Scalar { text, plain: true } if text.parse::<f64>().is_ok() => "a number",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads the truth values of the YAML 1.2 core schema.
pub(crate) fn is_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Reads one document. The tree is `None` when the file is empty.
///
/// Errors: the one diagnostic that ended the reading. Keys written twice are added to `found` instead.
pub(crate) fn read(source: &Arc<Source>, found: &mut Vec<Diagnostic>) -> Result<Option<Node>, Box<Diagnostic>> {
    if source.text.len() > SIZE_MAX_BYTES {
        let message = format!("`{}` is larger than {} MiB", source.shown, SIZE_MAX_BYTES >> 20);
        return Err(Box::new(Diagnostic::error(message)));
    }
    let parser = Parser::new_from_str(&source.text);
    let mut reader = Reader {
        source,
        parser,
        anchors: Vec::new(),
        nodes: 0,
        found,
    };
    reader.document()
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    parser: Parser<'a, StrInput<'a>>,
    /// Finished anchored nodes by the parser's number, and how many nodes each one is.
    anchors: Vec<(usize, Node, usize)>,
    nodes: usize,
    found: &'a mut Vec<Diagnostic>,
}

type Step<T> = Result<T, Box<Diagnostic>>;

impl<'a> Reader<'a> {
    fn document(&mut self) -> Step<Option<Node>> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, span) if root.is_none() => {
                    let node = self.node(event, span, 0)?;
                    root = (!node.is_null()).then_some(node);
                }
                (_, span) => {
                    let place = self.place(span);
                    let message = "the file has more than one document";
                    return Err(Box::new(
                        Diagnostic::error(message).at(place).hint("remove the `---` before it"),
                    ));
                }
            }
        }
    }

    fn next(&mut self) -> Step<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Box::new(syntax::explain(self.source, &error))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Step<Node> {
        self.count(1, span)?;
        if depth > DEPTH_MAX {
            return Err(self.bound(span, format!("the file is nested more than {DEPTH_MAX} deep")));
        }
        let before = self.nodes;
        let place = self.place(span);
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = self.is_text_tag(tag.as_deref(), span)?;
                let plain = style == ScalarStyle::Plain && !quoted;
                (
                    Value::Scalar {
                        text: text.into_owned(),
                        plain,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), span)?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), span)?;
                (self.map(depth)?, anchor)
            }
            _ => return Err(self.bound(span, "the file ends in the middle of a value".to_owned())),
        };
        let node = Node { value, place };
        if anchor != 0 {
            self.anchors.push((anchor, node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Step<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Step<Value> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, .. } = key.value else {
                return Err(self.bound(span, "a key must be a text".to_owned()));
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if let Some(first) = seen.get(&text) {
                let twice = Diagnostic::error(format!("the key `{text}` is there twice")).at(key.place);
                self.found
                    .push(twice.label("second time").also(Place::clone(first), "first time"));
                continue;
            }
            seen.insert(text.clone(), key.place.clone());
            entries.push(Entry {
                key: text,
                place: key.place,
                node,
            });
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Step<Node> {
        let known = self.anchors.iter().rfind(|(number, _, _)| *number == anchor);
        let Some((size, node)) = known.map(|(_, node, size)| (*size, node.clone())) else {
            return Err(self.bound(span, "the alias stands inside what it stands for".to_owned()));
        };
        self.count(size, span)?;
        Ok(node)
    }

    fn count(&mut self, more: usize, span: Span) -> Step<()> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES_MAX {
            return Err(self.bound(
                span,
                format!("the file has more than {NODES_MAX} values once its aliases are followed"),
            ));
        }
        Ok(())
    }

    /// Says whether a tag makes a text of its scalar; refuses tags beyond the core schema.
    fn is_text_tag(&self, tag: Option<&Tag>, span: Span) -> Step<bool> {
        match tag {
            None => Ok(false),
            Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(true),
            Some(tag) => Err(self.bound(span, format!("the tag `{tag}` is not known"))),
        }
    }

    fn bound(&self, span: Span, message: String) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(message).at(self.place(span)))
    }

    fn place(&self, span: Span) -> Place {
        place(self.source, span.start, span.end)
    }
}

/// The place from one mark to another, cut at the end of its line.
pub(crate) fn place(source: &Arc<Source>, start: Marker, end: Marker) -> Place {
    let (line, column) = (start.line().max(1), start.col() + 1);
    let length = if end.line() == start.line() {
        end.col().saturating_sub(start.col())
    } else {
        source.line(line).trim_end().chars().count().saturating_sub(start.col())
    };
    Place {
        source: Arc::clone(source),
        line,
        column,
        length: length.max(1),
    }
}
