//! Listeners as the file writes them: `tcp://192.0.2.80:443`, `udp://[2001:db8::80]:53?to=5353`.

use std::{
    fmt, iter,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::{
    address::{AddressError, check_socket},
    model::{Forward, Listen, Protocol},
    setting,
};

/// Why a text is no listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// There is no `://`.
    #[error("no protocol; write tcp:// or udp:// before the address")]
    NoProtocol,
    /// Neither TCP nor UDP.
    #[error("unknown protocol `{0}`; write tcp:// or udp://")]
    UnknownProtocol(String),
    /// An address alone.
    #[error("no port; write it as tcp://192.0.2.80:443 or tcp://[2001:db8::80]:443")]
    NoPort,
    /// No address and port at all.
    #[error(
        "no IP address and port; write them as tcp://192.0.2.80:443 or tcp://[2001:db8::80]:443"
    )]
    Unreadable,
    /// An address or port that no packet can have.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The port after `?to=`.
    #[error("?to=`{0}` is no port; choose one from 1 to 65535")]
    To(String),
    /// `?to=` again.
    #[error("?to= stands there twice; keep one")]
    ToTwice,
    /// `?to=` with direct server return.
    #[error("with forward = \"{0}\" the port can't change; remove ?to=")]
    FixedPort(Forward),
    /// `?quic` over TCP.
    #[error("QUIC runs over UDP; write udp:// before the address, or remove ?quic")]
    QuicOverTcp,
    /// `?quic=` something, or again.
    #[error("?quic stands alone, and once")]
    QuicValue,
    /// `?toggle=` without a name, or again.
    #[error("?toggle= takes the name of one [[toggle]], and stands there once")]
    Toggle,
    /// An option that means nothing.
    #[error("unknown option `?{0}`; the options are ?to=PORT, ?quic and ?toggle=NAME, joined by &")]
    UnknownOption(String),
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (protocol, rest) = text.split_once("://").ok_or(ListenError::NoProtocol)?;
        let (address, options) = match rest.split_once('?') {
            Some((address, options)) => (address, Some(options)),
            None => (rest, None),
        };
        let protocol = parse_protocol(protocol)?;
        let vip = parse_vip(address)?;
        let Options { to, quic, toggle } = options.map_or(Ok(Options::default()), parse_options)?;
        if quic && protocol == Protocol::Tcp {
            return Err(ListenError::QuicOverTcp);
        }
        Ok(Self {
            protocol,
            address: vip.ip(),
            port: vip.port(),
            to,
            quic,
            toggle,
        })
    }
}

impl fmt::Display for Listen {
    /// The form that the file has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vip = SocketAddr::new(self.address, self.port);
        write!(f, "{}://{vip}", self.protocol)?;
        let to = self.to.map(|to| format!("to={to}"));
        let quic = self.quic.then(|| "quic".to_owned());
        let toggle = self.toggle.as_ref().map(|name| format!("toggle={name}"));
        let options = [to, quic, toggle].into_iter().flatten();
        let mut marks = iter::once('?').chain(iter::repeat('&')).zip(options);
        marks.try_for_each(|(mark, option)| write!(f, "{mark}{option}"))
    }
}

fn parse_protocol(text: &str) -> Result<Protocol, ListenError> {
    let known = Protocol::WORDS.iter().find(|(word, _)| *word == text);
    known
        .map(|(_, protocol)| *protocol)
        .ok_or_else(|| ListenError::UnknownProtocol(text.escape_debug().to_string()))
}

fn parse_vip(text: &str) -> Result<SocketAddr, ListenError> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(ListenError::NoPort);
    }
    let vip = text.parse().map_err(|_| ListenError::Unreadable)?;
    check_socket(&vip)?;
    Ok(vip)
}

/// What may stand behind the `?`.
#[derive(Default)]
struct Options {
    to: Option<u16>,
    quic: bool,
    toggle: Option<String>,
}

fn parse_options(options: &str) -> Result<Options, ListenError> {
    let Options {
        mut to,
        mut quic,
        mut toggle,
    } = Options::default();
    for option in options.split('&') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "to" if to.is_some() => return Err(ListenError::ToTwice),
            "to" => to = Some(parse_port(value)?),
            "quic" if quic || option != key => return Err(ListenError::QuicValue),
            "quic" => quic = true,
            "toggle" if toggle.is_some() => return Err(ListenError::Toggle),
            "toggle" => toggle = Some(setting::name(value).map_err(|_| ListenError::Toggle)?),
            _ => return Err(ListenError::UnknownOption(key.escape_debug().to_string())),
        }
    }
    Ok(Options { to, quic, toggle })
}

fn parse_port(text: &str) -> Result<u16, ListenError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or_else(|| ListenError::To(text.escape_debug().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_shown_as_it_is_written() {
        let all = [
            "tcp://192.0.2.80:443",
            "tcp://192.0.2.80:443?to=8443",
            "udp://[2001:db8::80]:53?to=5353",
            "udp://[2001:db8::80]:53",
            "tcp://192.0.2.80:443?toggle=door",
            "udp://[2001:db8::80]:53?to=5353&quic&toggle=door-2",
        ];
        for text in all {
            let listen: Listen = text.parse().expect("valid");
            assert_eq!(listen.to_string(), text);
        }
    }

    #[test]
    fn to_sets_the_port_of_backends_that_name_none() {
        let listen: Listen = "tcp://192.0.2.80:443?to=8443".parse().expect("valid");
        assert_eq!((listen.port, listen.backend_port()), (443, 8443));
    }

    #[test]
    fn what_is_no_listener_is_refused_with_the_reason() {
        let option = |key: &str| ListenError::UnknownOption(key.to_owned());
        let to = |port: &str| ListenError::To(port.to_owned());
        let all = [
            ("192.0.2.80:443", ListenError::NoProtocol),
            (
                "http://192.0.2.80:443",
                ListenError::UnknownProtocol("http".into()),
            ),
            ("tcp://192.0.2.80", ListenError::NoPort),
            ("tcp://2001:db8::80:443", ListenError::NoPort),
            ("tcp://shop.example.net:443", ListenError::Unreadable),
            ("tcp://", ListenError::Unreadable),
            ("tcp://192.0.2.80:443/", ListenError::Unreadable),
            ("tcp://192.0.2.80:0", AddressError::PortZero.into()),
            ("tcp://0.0.0.0:80", AddressError::Unspecified.into()),
            ("tcp://127.0.0.1:80", AddressError::Loopback.into()),
            ("udp://[ff02::1]:80", AddressError::Multicast.into()),
            ("tcp://[::ffff:1.2.3.4]:80", AddressError::Mapped.into()),
            ("tcp://192.0.2.80:443?to=0", to("0")),
            ("tcp://192.0.2.80:443?to=65536", to("65536")),
            ("tcp://192.0.2.80:443?to=+80", to("+80")),
            ("tcp://192.0.2.80:443?to", to("")),
            ("tcp://192.0.2.80:443?to=1&to=2", ListenError::ToTwice),
            ("tcp://192.0.2.80:443?toggle", ListenError::Toggle),
            ("tcp://192.0.2.80:443?toggle=a b", ListenError::Toggle),
            (
                "tcp://192.0.2.80:443?toggle=a&toggle=a",
                ListenError::Toggle,
            ),
            ("tcp://192.0.2.80:443?quick", option("quick")),
            ("tcp://192.0.2.80:443?", option("")),
        ];
        for (text, error) in all {
            assert_eq!(text.parse::<Listen>(), Err(error), "{text}");
        }
    }

    #[test]
    fn quic_runs_over_udp_and_stands_alone() {
        for text in [
            "udp://192.0.2.80:443?quic",
            "udp://[2001:db8::80]:443?to=8443&quic",
        ] {
            let listen: Listen = text.parse().expect("valid");
            assert!(listen.quic);
            assert_eq!(listen.to_string(), text);
        }
        let error = "tcp://192.0.2.80:443?quic".parse::<Listen>();
        assert_eq!(error, Err(ListenError::QuicOverTcp));
        for options in ["quic=1", "quic=", "quic&quic"] {
            let error = format!("udp://192.0.2.80:443?{options}").parse::<Listen>();
            assert_eq!(error, Err(ListenError::QuicValue), "{options}");
        }
    }
}
