//! The text of a proxy auto-configuration file, for browsers that are set up by hand.
//!
//! The server offers it at its proxy port and `sc-tool pac` prints it; both say the same because both ask here.

/// A PAC file that leads these names to a proxy and everything else straight out.
///
/// Shape: `proxy` is `host:port`; `exact` are host names, `below` are suffixes that begin with a dot. The three spellings
/// of the proxy are for different browsers, best first (peers report Safari to know `SOCKS` only).
pub fn text(proxy: &str, exact: &[String], below: &[String]) -> String {
    let list = |names: &[String]| {
        names
            .iter()
            .map(|name| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "function FindProxyForURL(url, host) {{\n  \
           var exact = [{}];\n  \
           var below = [{}];\n  \
           host = host.toLowerCase().replace(/\\.$/, \"\");\n  \
           if (exact.indexOf(host) >= 0) return PROXY;\n  \
           for (var i = 0; i < below.length; i++)\n    \
             if (host.length > below[i].length && host.slice(-below[i].length) === below[i]) return PROXY;\n  \
           return \"DIRECT\";\n\
         }}\n\
         var PROXY = \"SOCKS5 {proxy}; SOCKS {proxy}; PROXY {proxy}\";\n",
        list(exact),
        list(below)
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_suffixes_go_to_the_proxy() {
        let text = super::text(
            "127.0.0.1:2006",
            &["www.example.com".to_owned()],
            &[".tenants.example.com".to_owned()],
        );
        assert!(text.contains(r#"var exact = ["www.example.com"];"#));
        assert!(text.contains(r#"var below = [".tenants.example.com"];"#));
        assert!(text.contains(r#""SOCKS5 127.0.0.1:2006; SOCKS 127.0.0.1:2006; PROXY 127.0.0.1:2006""#));
    }
}
