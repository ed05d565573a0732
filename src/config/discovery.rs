//! `cluster-discovery`: where a node looks for the others. Text here, read into names and ports; resolving them is `admin`'s.

/// The reason for a value that is none of the forms.
const WRONG: &str = "argument must be dns:NAME, dns:NAME:PORT, or hosts:HOST:PORT with more after commas";
/// How many hosts may be named one by one.
const HOSTS_MAX: usize = 1000;

/// Where nodes are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// At every address of one name; without a port, at the port of the node that looks.
    Dns { name: String, port: Option<u16> },
    /// At these hosts and ports, those that have an address.
    Hosts(Vec<(String, u16)>),
}

impl Discovery {
    /// Reads the value of the directive; empty is no discovery.
    ///
    /// # Errors
    /// The forms that there are.
    pub fn parse(text: &str) -> Result<Option<Discovery>, &'static str> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(name) = text.strip_prefix("dns:") {
            let (name, port) = match name.rsplit_once(':') {
                Some((name, port)) => (name, Some(read_port(port)?)),
                None => (name, None),
            };
            return Ok(Some(Discovery::Dns { name: read_name(name)?, port }));
        }
        let hosts = text.strip_prefix("hosts:").ok_or(WRONG)?;
        if hosts.split(',').count() > HOSTS_MAX {
            return Err(WRONG);
        }
        let host = |word: &str| {
            let (name, port) = word.rsplit_once(':').ok_or(WRONG)?;
            Ok((read_name(name)?, read_port(port)?))
        };
        hosts.split(',').map(host).collect::<Result<_, _>>().map(|hosts| Some(Discovery::Hosts(hosts)))
    }
}

/// For the table of directives.
///
/// # Errors
/// Those of [`Discovery::parse`].
pub fn check(text: &str) -> Result<(), &'static str> {
    Discovery::parse(text).map(drop)
}

/// A host name, or an address: IPv6 without brackets, or in them.
fn read_name(name: &str) -> Result<String, &'static str> {
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    if name.is_empty() || !name.bytes().all(is_name) { Err(WRONG) } else { Ok(name.to_owned()) }
}

fn read_port(port: &str) -> Result<u16, &'static str> {
    port.parse().ok().filter(|port| *port != 0).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hosts_are_read() {
        let dns = |name: &str, port| Ok(Some(Discovery::Dns { name: name.to_owned(), port }));
        assert_eq!(Discovery::parse(""), Ok(None));
        assert_eq!(Discovery::parse("dns:node"), dns("node", None));
        assert_eq!(Discovery::parse("dns:node.example.net:7000"), dns("node.example.net", Some(7000)));
        let hosts = [("a".to_owned(), 1), ("::1".to_owned(), 2)];
        assert_eq!(Discovery::parse("hosts:a:1,[::1]:2"), Ok(Some(Discovery::Hosts(hosts.to_vec()))));
        for wrong in ["node", "dns:", "dns::1", "dns:a:0", "dns:a b", "dns:a:70000", "hosts:", "hosts:a", "hosts:a:1,"]
        {
            assert_eq!(check(wrong), Err(WRONG), "{wrong}");
        }
        assert_eq!(check(&format!("hosts:{}", vec!["a:1"; HOSTS_MAX + 1].join(","))), Err(WRONG));
    }
}
