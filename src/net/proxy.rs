//! Proxies: which one stands between, and how it is asked for a connection: `CONNECT`
//! (RFC 9110, section 9.3.6) or SOCKS 5 (RFC 1928 and 1929). Of what comes behind its
//! answer nothing is read: that is the server's.

use super::base64;
use super::dial::{Peer, Stream};
use super::http::USER_AGENT;
use super::url::{Url, is_loopback, join, split_authority};
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use crate::redact::Secret;
use std::fmt;
use std::io::{Read, Write};
use std::net::IpAddr;

/// The longest head of an answer that is read.
const MAX_HEAD: usize = 16 * 1024;
/// Where a proxy may be named, in this order (as curl looks).
const VARIABLES: &[&str] = &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// Where is listed what is reached without one.
const EXCEPTIONS: &[&str] = &["no_proxy", "NO_PROXY"];

/// How a proxy is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `CONNECT`.
    Http,
    /// `CONNECT` over TLS.
    Https,
    /// SOCKS 5 with an address.
    Socks,
    /// SOCKS 5 with a name, which the proxy resolves.
    SocksName,
}

const WAYS: &[(&str, Way, u16)] = &[
    ("http", Way::Http, 80),
    ("https", Way::Https, 443),
    ("socks5", Way::Socks, 1080),
    ("socks5h", Way::SocksName, 1080),
];

/// A proxy.
pub struct Proxy {
    /// How it is spoken to.
    pub way: Way,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    scheme: &'static str,
    login: Option<(Vec<u8>, Vec<u8>)>,
    /// The variable that names it.
    variable: &'static str,
}

/// As errors call it: without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy '{}://{}'", self.scheme, join(&self.host, self.port))
    }
}

impl Proxy {
    /// The proxy in front of `url`, if there is one. To this machine there never is.
    pub fn choose(url: &Url, environment: fn(&str) -> Option<String>) -> Result<Option<Proxy>> {
        let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, environment(name)?)));
        if is_loopback(url.host()) {
            return Ok(None);
        }
        if let Some((_, list)) = first(EXCEPTIONS)
            && excepted(&list, url.host(), url.port())
        {
            return Ok(None);
        }
        first(VARIABLES).map(|(variable, text)| Proxy::parse(variable, &text)).transpose()
    }

    /// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`. Errors don't repeat it: it may
    /// hold a password.
    fn parse(variable: &'static str, text: &str) -> Result<Proxy> {
        let invalid = |why: &str| {
            Error::usage(format!("{variable} holds no proxy address: {why}")).hint(packed!(
                "write for instance http://proxy.example.com:3128 or socks5h://proxy.example.com:1080"
            ))
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (scheme, way, port) = *WAYS
            .iter()
            .find(|(name, ..)| name.eq_ignore_ascii_case(scheme))
            .ok_or_else(|| invalid("it must begin with http, https, socks5 or socks5h"))?;
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login.split_once(':').unwrap_or((login, ""))), rest),
            None => (None, rest),
        };
        let authority = rest.split('/').next().unwrap_or(rest);
        let (host, given) = split_authority(authority).map_err(invalid)?;
        let login = login.map(|(user, password)| (decoded(user), decoded(password)));
        let fits = |part: &[u8]| (1..256).contains(&part.len());
        if let (Way::Socks | Way::SocksName, Some((user, password))) = (way, &login)
            && !(fits(user) && fits(password))
        {
            return Err(invalid("SOCKS 5 wants a user name and a password of at most 255 bytes"));
        }
        Ok(Proxy { way, host, port: given.unwrap_or(port), scheme, login, variable })
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        format!("{} names it; what is reached without it belongs into NO_PROXY", self.variable)
    }

    /// Asks for a connection to `host`; from then on `stream` is that.
    pub fn open(&self, stream: &mut Stream, peer: &Peer<'_>, host: &str, port: u16) -> Result<()> {
        let mut talk = Talk { proxy: self, stream, peer, target: join(host, port) };
        match self.way {
            Way::Http | Way::Https => talk.connect(),
            Way::Socks | Way::SocksName => talk.socks(host, port),
        }
    }
}

/// The talk with a proxy about one connection.
struct Talk<'a> {
    proxy: &'a Proxy,
    stream: &'a mut Stream,
    peer: &'a Peer<'a>,
    target: String,
}

impl Talk<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.peer.lost(&error))
    }

    fn receive(&mut self, out: &mut [u8]) -> Result<()> {
        self.stream.read_exact(out).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.says("closes the connection without an answer"),
            _ => self.peer.lost(&error),
        })
    }

    /// `the proxy '…' WHAT`.
    fn says(&self, what: &str) -> Error {
        Error::new(Kind::Unreachable, format!("{} {what}", self.proxy)).hint(self.proxy.hint())
    }

    fn refuses(&self) -> Error {
        self.says(&format!("does not allow a connection to '{}'", self.target))
            .hint(packed!("ask who runs it to allow that; what is reached without it belongs into NO_PROXY"))
    }

    fn fails(&self, why: &str) -> Error {
        self.says(&format!("cannot reach '{}': {why}", self.target))
            .hint(packed!("check the URL, and that the server runs"))
    }

    fn wants_login(&self) -> Error {
        let (variable, scheme) = (self.proxy.variable, self.proxy.scheme);
        match self.proxy.login {
            None => self.says("wants a user name and a password").hint(format!(
                "put them into {variable}: {scheme}://USER:PASSWORD@{}",
                join(&self.proxy.host, self.proxy.port)
            )),
            Some(_) => self.says("does not accept the user name and password").hint(format!(
                "check them in {variable}; special characters are written like %40; \
                 of an HTTP proxy rig knows Basic authentication only"
            )),
        }
    }

    fn connect(&mut self) -> Result<()> {
        let target = &self.target;
        let mut request =
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\n");
        if let Some((user, password)) = &self.proxy.login {
            let login = base64::encode(&[user, &b":"[..], password].concat());
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&login);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let request = Secret::new(request);
        self.send(request.reveal().as_bytes())?;
        match self.status()? {
            200..300 => Ok(()),
            // A wrong password is 401 to tinyproxy.
            401 | 407 => Err(self.wants_login()),
            403 => Err(self.refuses()),
            status => Err(self.fails(&format!("it answers with HTTP status {status}"))),
        }
    }

    /// The status of the answer, of which the whole head is read and nothing else.
    fn status(&mut self) -> Result<u16> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.receive(&mut byte)?;
            head.extend_from_slice(&byte);
            let begun = b"HTTP/1.".iter().zip(&head).all(|(wanted, found)| wanted == found);
            if !begun || head.len() > MAX_HEAD {
                return Err(self.says("does not answer as an HTTP proxy does"));
            }
        }
        let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.says("does not answer as an HTTP proxy does"))
    }

    fn socks(&mut self, host: &str, port: u16) -> Result<()> {
        let login = self.proxy.login.as_ref();
        // No authentication, and user name with password.
        self.send(if login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] })?;
        let mut answer = [0; 2];
        self.receive(&mut answer)?;
        match (answer, login) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => {
                let lengths = [user, password].map(|part| part.len() as u8);
                let [user_length, password_length] = lengths;
                self.send(&[&[1, user_length], user.as_slice(), &[password_length], password].concat())?;
                self.receive(&mut answer)?;
                if answer != [1, 0] {
                    return Err(self.wants_login());
                }
            }
            ([5, 255], _) => return Err(self.wants_login()),
            _ => return Err(self.says("does not answer as a SOCKS 5 proxy does")),
        }
        let mut request = vec![5, 1, 0];
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            Err(_) => {
                let length = u8::try_from(host.len()).map_err(|_| self.fails("its name is too long"))?;
                request.extend_from_slice(&[3, length]);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        self.send(&request)?;
        let mut answer = [0; 4];
        self.receive(&mut answer)?;
        let [version, reply, _, kind] = answer;
        let rest = match kind {
            1 => 4,
            3 => {
                let mut length = [0];
                self.receive(&mut length)?;
                usize::from(length[0])
            }
            4 => 16,
            _ => 0,
        };
        match (version, reply) {
            (5, 0) if rest > 0 => self.receive(&mut vec![0; rest + 2]),
            (5, 2) => Err(self.refuses()),
            (5, 1..) => Err(self.fails(REPLIES.get(usize::from(reply)).unwrap_or(&"it does not say why"))),
            _ => Err(self.says("does not answer as a SOCKS 5 proxy does")),
        }
    }
}

/// The replies of SOCKS 5 (RFC 1928, section 6).
const REPLIES: [&str; 9] = [
    "",
    "it failed",
    "",
    "the network is unreachable",
    "the host is unreachable",
    "connection refused",
    "the way is too long",
    "it makes no connections",
    "it does not know this kind of address",
];

/// `%40` is `@`.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let code = match after {
            [high, low, ..] if *byte == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match (code, after) {
            (Some((high, low)), [_, _, after @ ..]) => {
                out.push((high << 4 | low) as u8);
                rest = after;
            }
            _ => out.push(*byte),
        }
    }
    out
}

/// Whether `list`, the value of NO_PROXY, has an entry for this host and port (curl's
/// `Curl_check_noproxy`, and entries with ports).
fn excepted(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.');
    let address = host.parse::<IpAddr>().ok();
    list.split(|c: char| c == ',' || c.is_ascii_whitespace()).any(|entry| match address {
        _ if entry == "*" => true,
        Some(address) if within(entry, address) => true,
        _ => {
            let Ok((name, wanted)) = split_authority(entry.trim_start_matches('*').trim_start_matches('.'))
            else {
                return false;
            };
            let name = name.trim_end_matches('.');
            let same = match address {
                Some(address) => name.parse() == Ok(address),
                None => host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            };
            same && wanted.is_none_or(|wanted| wanted == port)
        }
    })
}

/// Whether `address` is `entry` or in that block (`10.0.0.0/8`).
fn within(entry: &str, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (network, length) = entry.split_once('/').unwrap_or((entry, ""));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let ((network, longest), (address, size)) = (bits(network), bits(address));
    let length: u16 = if length.is_empty() { longest } else { length.parse().unwrap_or(u16::MAX) };
    size == longest && length <= longest && (network ^ address).leading_zeros() >= length.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;
    use std::time::Duration;

    fn chosen(url: &str, environment: fn(&str) -> Option<String>) -> Option<String> {
        let proxy = Proxy::choose(&Url::parse(url).unwrap(), environment).unwrap();
        proxy.map(|proxy| format!("{} by {}", proxy, proxy.variable))
    }

    #[test]
    fn the_first_variable_names_the_proxy() {
        fn all(name: &str) -> Option<String> {
            let number = VARIABLES.iter().position(|variable| *variable == name)?;
            Some(format!("p{number}"))
        }
        assert_eq!(chosen("https://max.test", all).unwrap(), "the proxy 'http://p0:80' by https_proxy");
        let last = |name: &str| (name == "ALL_PROXY").then(|| "SOCKS5://u:x@[FD00::1]/".to_owned());
        assert_eq!(
            chosen("https://max.test", last).unwrap(),
            "the proxy 'socks5://[fd00::1]:1080' by ALL_PROXY"
        );
        let plain = |name: &str| name.eq_ignore_ascii_case("http_proxy").then(|| "p".to_owned());
        assert_eq!(chosen("https://max.test", plain), None);
        assert_eq!(chosen("https://max.test", |name| all(name).or(Some("*".to_owned()))), None);
        for url in ["http://localhost", "https://a.localhost.", "https://127.8.9.1", "https://[::1]"] {
            assert_eq!(chosen(url, all), None, "{url}");
        }
    }

    #[test]
    fn no_proxy_has_the_rules_of_curl() {
        for (list, host, expected) in [
            ("*", "max.test", true),
            ("", "max.test", false),
            (",, ,", "max.test", false),
            ("max.test", "max.test", true),
            ("other, MAX.test ,more", "max.test", true),
            ("other max.test", "max.test", true),
            ("test", "max.test", true),
            (".test", "max.test", true),
            (".max.test", "max.test", true),
            ("*.test", "max.test", true),
            ("max.test.", "max.test", true),
            ("max.test", "max.test.", true),
            ("ax.test", "max.test", false),
            ("max.tes", "max.test", false),
            ("a.max.test", "max.test", false),
            (".", "max.test", false),
            ("max.test:443", "max.test", true),
            ("max.test:8443", "max.test", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3:443", "10.1.2.3", true),
            ("10.1.2.3:444", "10.1.2.3", false),
            ("2.3", "10.1.2.3", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("11.0.0.0/8", "10.1.2.3", false),
            ("10.1.2.2/31", "10.1.2.3", true),
            ("10.1.2.4/31", "10.1.2.3", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("1.1.1.1/0", "10.1.2.3", true),
            ("10.0.0.0/33", "10.1.2.3", false),
            ("10.0.0.0/x", "10.1.2.3", false),
            ("10.0.0.0/8", "max.test", false),
            ("::/0", "10.1.2.3", false),
            ("0.0.0.0/0", "fd00::1", false),
            ("fd00::/16", "fd00::1", true),
            ("fd01::/16", "fd00::1", false),
            ("FD00:0::1", "fd00::1", true),
            ("[fd00::1]", "fd00::1", true),
            ("[fd00::1]:443", "fd00::1", true),
            ("[fd00::1]:80", "fd00::1", false),
        ] {
            assert_eq!(excepted(list, host, 443), expected, "{list} {host}");
        }
    }

    #[test]
    fn percent_signs_are_decoded() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("a%40b", b"a@b"),
            ("%41%", b"A%"),
            ("%4", b"%4"),
            ("%zz%+f%c3%A9", b"%zz%+f\xc3\xa9"),
            ("%%41", b"%A"),
        ] {
            assert_eq!(decoded(text), bytes, "{text}");
        }
    }

    /// What the server sends at once behind the proxy's answer is not lost.
    #[test]
    fn of_the_answer_not_a_byte_too_much_is_read() {
        for (scheme, answer) in [
            ("http", &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..]),
            ("http", b"HTTP/1.0 299 \n\r\n\r\nhello"),
            ("socks5h", b"\x05\0\x05\0\0\x01\x7f\0\0\x01\0\x50hello"),
            ("socks5h", b"\x05\0\x05\0\0\x03\x02ab\0\x50hello"),
            ("socks5h", b"\x05\0\x05\0\0\x04ABCDEFGHIJKLMNOPQRhello"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(answer).unwrap();
                stream
            });
            let url = Url::parse("https://max.test").unwrap();
            let peer = Peer::max(&url, Duration::from_secs(60));
            let proxy = Proxy::parse("X", &format!("{scheme}://127.0.0.1:{port}")).unwrap();
            let mut stream = peer.connect(&proxy.host, proxy.port).unwrap();
            proxy.open(&mut stream, &peer, "max.test", 443).unwrap();
            let mut rest = [0; 5];
            stream.read_exact(&mut rest).unwrap();
            assert_eq!(&rest, b"hello");
            drop(server.join().unwrap());
        }
    }
}
