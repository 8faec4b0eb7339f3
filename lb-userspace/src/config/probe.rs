//! What a `health` asks of backends: one of four kinds of check, with the options of its kind.

use super::{
    errors::Fault,
    model::{GrpcProbe, HttpProbe, Probe, Statuses, Verify},
    raw::Section,
    setting,
    shape::Codes,
};

/// The key that names a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Grpc,
}

/// Beside the key that names the check.
struct Options {
    host: Option<String>,
    status: Statuses,
    tls: Option<Verify>,
}

/// What a check asks; nothing only where a problem has been reported.
pub(super) fn read(section: &mut Section) -> Option<Probe> {
    let mut named = read_kinds(section);
    let only = if named.len() == 1 { named.pop() } else { None };
    if only.is_none() && named.is_empty() {
        section.refuse(Fault::NoCheck);
    } else if only.is_none() {
        let keys = named.iter().map(|(kind, _)| kind.key());
        section.refuse(Fault::ManyChecks(setting::choice(keys)));
    }
    let options = read_options(section, only.as_ref().map(|(kind, _)| *kind));
    let (kind, text) = only?;
    text.map(|text| kind.probe(text, options))
}

/// The kinds that are named, each with its value, or nothing where that is wrong.
fn read_kinds(section: &mut Section) -> Vec<(Kind, Option<String>)> {
    let is_there = Kind::ALL.map(|kind| section.contains(kind.key()));
    let tcp = section.value::<bool>("tcp").map(|tcp| *tcp.get_ref());
    let http = section.setting("http", |path: &String| setting::http_path(path));
    let https = section.setting("https", |path: &String| setting::http_path(path));
    let grpc = section.setting("grpc", |name: &String| setting::grpc_service(name));
    let texts = [tcp.map(|_| String::new()), http, https, grpc];
    let all = Kind::ALL.into_iter().zip(texts).zip(is_there);
    // `tcp = false` says what goes without saying.
    let named =
        all.filter(|((kind, _), there)| *there && (*kind != Kind::Tcp || tcp != Some(false)));
    named.map(|(named, _)| named).collect()
}

/// The options, those that the kind doesn't have refused; without a kind, all are let be.
fn read_options(section: &mut Section, kind: Option<Kind>) -> Options {
    let is = |kinds: &[Kind]| kind.is_none_or(|kind| kinds.contains(&kind));
    let named = is(&[Kind::Http, Kind::Https, Kind::Grpc]);
    fits(section, "host", "`http`, `https` and `grpc`", named);
    let host = section.setting("host", |text: &String| setting::host(text));
    fits(
        section,
        "status",
        "`http` and `https`",
        is(&[Kind::Http, Kind::Https]),
    );
    let status = section.setting("status", |codes: &Codes| setting::statuses(&codes.0));
    fits(section, "tls", "`grpc`", is(&[Kind::Grpc]));
    let tls = section
        .value::<bool>("tls")
        .is_some_and(|tls| *tls.get_ref());
    let tls = is(&[Kind::Https]) || (is(&[Kind::Grpc]) && tls);
    Options {
        host,
        status: status.unwrap_or_default(),
        tls: read_verify(section, tls || kind.is_none()).filter(|_| tls),
    }
}

/// What is asked of certificates: nothing, unless the file says so or names an authority.
fn read_verify(section: &mut Section, tls: bool) -> Option<Verify> {
    let kinds = "`https`, and by `grpc` with tls = true,";
    fits(section, "verify", kinds, tls);
    fits(section, "ca", kinds, tls);
    let verify = section
        .value::<bool>("verify")
        .map(|verify| *verify.get_ref());
    let authority = section.setting("ca", |text: &String| setting::path(text));
    match (verify, authority) {
        (Some(false), Some(_)) => {
            section.refuse(Fault::UnaskedAuthority);
            None
        }
        (_, Some(file)) => Some(Verify::File(file)),
        (Some(true), None) => Some(Verify::System),
        (Some(false) | None, None) => Some(Verify::Nothing),
    }
}

fn fits(section: &Section, key: &'static str, kinds: &'static str, fits: bool) {
    if section.contains(key) && !fits {
        section.refuse(Fault::UnusedOption { key, kinds });
    }
}

impl Kind {
    const ALL: [Self; 4] = [Self::Tcp, Self::Http, Self::Https, Self::Grpc];

    const fn key(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
        }
    }

    fn probe(self, text: String, options: Options) -> Probe {
        let Options { host, status, tls } = options;
        match self {
            Self::Tcp => Probe::Tcp,
            Self::Http | Self::Https => Probe::Http(HttpProbe {
                path: text,
                host,
                status,
                tls,
            }),
            Self::Grpc => Probe::Grpc(GrpcProbe {
                service: text,
                host,
                tls,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Config,
        samples::{problems, refuses, shop},
    };
    use super::*;

    fn with(health: &str) -> String {
        shop("").replace(
            "name = \"green\"",
            &format!("name = \"green\"\nhealth = {health}"),
        )
    }

    fn probe(text: &str) -> Probe {
        let config = Config::parse(&with(text)).expect("valid");
        let pool = config.services[0].pool("green").expect("there");
        pool.health.clone().expect("configured").probe
    }

    #[test]
    fn a_check_is_of_one_kind() {
        for none in ["{}", "{ tcp = false }", "{ rise = 1 }"] {
            let said = problems(&with(none));
            let expected = "pool `green`: health names no check; write tcp = true, http = \
                            \"/healthz\", https = \"/healthz\" or grpc = \"\"";
            assert!(said.ends_with(expected), "{said}");
        }
        refuses(
            &with("{ tcp = true, http = \"/\", grpc = \"\" }"),
            "pool `green`: health names several checks; keep one of `tcp`, `http` or `grpc`",
        );
        assert_eq!(probe("{ tcp = false, http = \"/\" }").to_string(), "http /");
    }

    #[test]
    fn certificates_are_asked_for_only_where_the_file_says_so() {
        for (options, verify) in [
            ("", Verify::Nothing),
            (", verify = false", Verify::Nothing),
            (", verify = true", Verify::System),
            (", ca = \"/ca.pem\"", Verify::File("/ca.pem".into())),
            (
                ", verify = true, ca = \"/ca.pem\"",
                Verify::File("/ca.pem".into()),
            ),
        ] {
            let https = probe(&format!("{{ https = \"/\"{options} }}"));
            let grpc = probe(&format!("{{ grpc = \"\", tls = true{options} }}"));
            assert_eq!((https.tls(), grpc.tls()), (Some(&verify), Some(&verify)));
        }
        refuses(
            &with("{ https = \"/\", verify = false, ca = \"/ca.pem\" }"),
            "pool `green`: health names a `ca`, but sets verify = false; remove one of them",
        );
    }

    #[test]
    fn every_option_of_a_kind_is_read() {
        let Probe::Http(http) =
            probe("{ http = \"/x\", host = \"shop:81\", status = \"200-299\" }")
        else {
            panic!("a check by HTTP");
        };
        assert_eq!(
            (http.path.as_str(), http.host.as_deref()),
            ("/x", Some("shop:81"))
        );
        assert!(http.status.contains(299) && !http.status.contains(301) && http.tls.is_none());
        let Probe::Grpc(grpc) = probe("{ grpc = \"shop.Cart\", host = \"shop\" }") else {
            panic!("a check by gRPC");
        };
        assert_eq!(
            (grpc.service.as_str(), grpc.host.as_deref()),
            ("shop.Cart", Some("shop"))
        );
        assert!(grpc.tls.is_none());
    }

    #[test]
    fn options_of_another_kind_are_refused() {
        for (health, key) in [
            ("tcp = true, host = \"shop\"", "host"),
            ("grpc = \"\", status = 200", "status"),
            ("https = \"/\", tls = true", "tls"),
            ("http = \"/\", verify = true", "verify"),
            ("grpc = \"\", ca = \"/ca.pem\"", "ca"),
        ] {
            let said = problems(&with(&format!("{{ {health} }}")));
            let expected = format!("health sets `{key}`, which is for checks by ");
            assert!(said.contains(&expected), "{health}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        for path in ["healthz", "", "/a b", "/a#b", "http://x/"] {
            refuses(
                &with(&format!("{{ http = \"{path}\" }}")),
                "no path of an HTTP request; write it as \"/healthz\"",
            );
        }
    }
}
