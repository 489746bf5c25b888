//! Laying `devlove.local.yaml` over `devlove.yaml`.
//!
//! Mappings merge key by key, at every depth; anything else replaces; a key with nothing as its value removes. Domain
//! names are the same key however they are spelt. Values keep the place they came from, so that every diagnostic points
//! into the right file.
use crate::names;
use crate::tree::{Entry, Node, Value};

/// Lays `over` over `base`.
pub(crate) fn merge(base: Node, over: Node) -> Node {
    merge_at(base, over, 0, true)
}

/// Depth of the mapping whose keys are domain names: below `shimmercat-devlove` and `domains`.
const DOMAINS_DEPTH: usize = 2;

fn merge_at(base: Node, over: Node, depth: usize, leads_to_domains: bool) -> Node {
    match (base.value, over.value) {
        (Value::Map(mut entries), Value::Map(others)) => {
            let are_domains = leads_to_domains && depth == DOMAINS_DEPTH;
            for other in others {
                lay(&mut entries, other, are_domains, depth, leads_to_domains);
            }
            Node {
                value: Value::Map(entries),
                place: base.place,
            }
        }
        (_, value) => Node {
            value,
            place: over.place,
        },
    }
}

fn lay(entries: &mut Vec<Entry>, other: Entry, are_domains: bool, depth: usize, leads_to_domains: bool) {
    let position = entries
        .iter()
        .position(|entry| same(&entry.key, &other.key, are_domains));
    match position {
        Some(index) if other.node.is_null() => drop(entries.remove(index)),
        Some(index) => {
            let entry = entries.remove(index);
            let leads = leads_to_domains && matches!(other.key.as_str(), "shimmercat-devlove" | "domains");
            let node = merge_at(entry.node, other.node, depth + 1, leads);
            entries.insert(
                index,
                Entry {
                    key: entry.key,
                    place: entry.place,
                    node,
                },
            );
        }
        None => entries.push(other),
    }
}

fn same(one: &str, other: &str, are_domains: bool) -> bool {
    let name = |key| names::split_key(key).ok().map(|(_, name)| name);
    one == other || (are_domains && name(one).is_some() && name(one) == name(other))
}
