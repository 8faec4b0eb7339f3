//! Commands that go to the daemon.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    Failure,
    cutover::{self, Cutover},
    release::Release,
    replay::Replay,
    show::Answer,
    toggle::{self, Toggle},
    wait::wait,
};
use crate::{
    api::{
        client::{Client, ClientError},
        model::{Applied, ApplyOrder, BackendOrder, Done, ShareOrder, Status},
    },
    share::Share,
    state::Admin,
};

/// How long a daemon may take to end that has said it will, and how often it is looked for.
const ENDING: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// How often a daemon is asked whether an order that waits is carried out.
const ARMING_POLL: Duration = Duration::from_millis(100);

/// What the daemon is asked.
#[derive(Debug, Subcommand)]
pub enum Order {
    /// Take the changed configuration: all of it, or nothing
    Apply {
        /// Another file than the daemon's own
        file: Option<PathBuf>,
        /// Only show what would be written
        #[arg(long)]
        dry_run: bool,
    },
    /// A line for each service
    List,
    /// Everything about a service; without one, about the host
    Status {
        /// The service
        service: Option<String>,
        /// Show it as a tree, once a second, until interrupted
        #[arg(short, long, requires = "service")]
        watch: bool,
    },
    /// Which backend a client gets, and why; the loaded program answers
    Whois {
        /// The service
        service: String,
        /// Address, or address and port
        client: String,
        /// As configured, where it is not the first one of the client's family
        #[arg(long)]
        listener: Option<String>,
        /// Of a new connection (the default)
        #[arg(long)]
        syn: bool,
        /// Of a connection that is under way
        #[arg(long, conflicts_with = "syn")]
        established: bool,
        #[command(flatten)]
        marks: Marks,
    },
    /// Wait until a release ends: 0 promoted, 1 aborted, rolled back or taken over, 3 timed out or
    /// inconclusive
    Wait {
        /// The service
        service: String,
        /// Like 90s or 30m; without, for as long as it takes, which is for ever if it waits for an
        /// approval or for evidence that never comes
        #[arg(long, value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
    /// The numbers behind what the judge says of a release
    Explain {
        /// The service
        service: String,
        #[command(flatten)]
        replay: Replay,
    },
    /// What has happened to a service, oldest first
    History {
        /// The service
        service: String,
    },
    /// Send all clients to another pool, in one store
    Cutover(Cutover),
    /// List the toggles, or turn one
    Toggle(Toggle),
    #[command(flatten)]
    Release(Release),
    #[command(flatten)]
    Change(Change),
}

/// What changes a service.
/// What a packet shows of its client beside the address.
#[derive(Debug, Args)]
pub struct Marks {
    /// Its DSCP: 0 to 63, or a name such as ef [default: 0]
    #[arg(long)]
    dscp: Option<String>,
    /// Its TTL or hop limit [default: 64]
    #[arg(long)]
    ttl: Option<u8>,
    /// Id of its VLAN tag [default: no tag]
    #[arg(long)]
    vlan: Option<u16>,
    /// The segment size that a TCP connection's first packet announces, in bytes [default: none]
    #[arg(long)]
    mss: Option<u16>,
}

impl Marks {
    fn query(&self) -> String {
        let Self {
            dscp,
            ttl,
            vlan,
            mss,
        } = self;
        let all = [
            ("dscp", dscp.as_deref().map(escape)),
            ("ttl", ttl.map(|hops| hops.to_string())),
            ("vlan", vlan.map(|id| id.to_string())),
            ("mss", mss.map(|size| size.to_string())),
        ];
        let given = all
            .into_iter()
            .filter_map(|(key, value)| Some(format!("&{key}={}", value?)));
        given.collect()
    }
}

#[derive(Debug, Subcommand)]
pub enum Change {
    /// Send a share of the clients to the candidate
    Share {
        /// The service
        service: String,
        /// Like 5%, 0.01% or 50000ppm
        share: Share,
        /// The pool, where it is not the only other one
        #[arg(long)]
        to: Option<String>,
    },
    /// Take the share back, or else the last cutover
    Rollback {
        /// The service
        service: String,
    },
    /// Set a backend's weight
    Weight {
        #[command(flatten)]
        target: Target,
        /// 0 to 65535, relative to the others of its pool
        #[arg(value_parser = clap::value_parser!(u32).range(..=65535))]
        weight: u32,
    },
    /// Give a backend no new connections; live ones stay
    Drain(Target),
    /// Give a backend nothing at all; live connections are cut
    Maint(Target),
    /// Let a backend serve again
    Ready(Target),
}

/// One backend.
#[derive(Debug, Args)]
pub struct Target {
    /// The service
    service: String,
    /// The backend
    backend: String,
}

impl Order {
    /// Sends the order, and waits for the answer.
    pub(super) async fn give(self, socket: &Path) -> Result<Answer, Failure> {
        let client = Client::new(socket);
        Ok(match self {
            Self::List => Answer::List(client.get("/v1/services").await?),
            Self::Status { service: None, .. } => Answer::Node(client.get("/v1/node").await?),
            Self::Status {
                service: Some(service),
                ..
            } => Answer::Status(Box::new(client.get(&resource(&service, "")).await?)),
            Self::Apply { file, dry_run } => {
                let order = ApplyOrder {
                    file: absolute(file.as_deref())?,
                    dry_run,
                };
                let applied = client.post("/v1/apply", &order).await?;
                Answer::Applied(all_in_force(&client, applied).await?)
            }
            Self::Whois {
                service,
                client: who,
                listener,
                syn: _,
                established,
                marks,
            } => {
                let listener = listener.map(|text| format!("&listener={}", escape(&text)));
                let query = format!(
                    "/whois?client={}&established={established}{}{}",
                    escape(&who),
                    listener.unwrap_or_default(),
                    marks.query()
                );
                Answer::Whois(Box::new(client.get(&resource(&service, &query)).await?))
            }
            Self::Wait { service, timeout } => {
                let path = resource(&service, "");
                Answer::Release(wait(&client, &path, &service, timeout).await?)
            }
            Self::Explain { service, replay } => match replay.ask(&client, &service).await {
                Some(replayed) => Answer::Replayed(Box::new(replayed?)),
                None => Answer::Judged(client.get(&resource(&service, "/evidence")).await?),
            },
            Self::History { service } => {
                let query = format!("/v1/events?service={}", escape(&service));
                Answer::Events(client.get(&query).await?)
            }
            Self::Cutover(cutover) => match cutover.give(&client).await? {
                cutover::Answer::One(done) => Answer::Done(in_force(&client, done).await?),
                cutover::Answer::Several(together) => Answer::Together(together),
            },
            Self::Toggle(toggle) => match toggle.give(&client).await? {
                toggle::Answer::All(toggles) => Answer::Toggles(toggles),
                toggle::Answer::Turned(turned) => Answer::Toggled(turned),
            },
            Self::Release(release) => {
                let done = release.give(&client).await?;
                Answer::Done(in_force(&client, done).await?)
            }
            Self::Change(change) => {
                let done = change.give(&client).await?;
                Answer::Done(in_force(&client, done).await?)
            }
        })
    }
}

impl Change {
    async fn give(self, client: &Client) -> Result<Done, ClientError> {
        match self {
            Self::Share { service, share, to } => {
                let order = ShareOrder {
                    share_ppm: share.ppm,
                    to,
                };
                client.post(&resource(&service, "/share"), &order).await
            }
            Self::Rollback { service } => client.post(&resource(&service, "/rollback"), &()).await,
            Self::Weight { target, weight } => {
                target.put(client, BackendOrder::Weight(weight)).await
            }
            Self::Drain(target) => target.put(client, BackendOrder::State(Admin::Drain)).await,
            Self::Maint(target) => target.put(client, BackendOrder::State(Admin::Maint)).await,
            Self::Ready(target) => target.put(client, BackendOrder::State(Admin::Ready)).await,
        }
    }
}

/// Waits until an order is carried out for which sessions are pinned first, and says so. Who does not
/// want to wait may leave: the daemon carries it out alone.
async fn in_force(client: &Client, done: Done) -> Result<Done, Failure> {
    let (Some(left), Some(order)) = (done.arming_s, done.order) else {
        return Ok(done);
    };
    let service = &done.service;
    eprintln!("{service}: pinning the sessions that are there; the order follows in {left} s");
    let status = ended(client, service, order).await?;
    Ok(Done {
        epoch: status.epoch,
        active: status.active,
        candidate: status.candidate,
        share_ppm: status.share_ppm,
        arming_s: None,
        order: None,
        ..done
    })
}

/// The same for another configuration, which waits in all services that have sessions.
async fn all_in_force(client: &Client, applied: Applied) -> Result<Applied, Failure> {
    let Some(left) = applied.arming_s else {
        return Ok(applied);
    };
    eprintln!("pinning the sessions that are there; the configuration follows in {left} s");
    for (service, &order) in &applied.orders {
        ended(client, service, order).await?;
    }
    Ok(Applied {
        arming_s: None,
        ..applied
    })
}

/// Waits until an order has waited; a failure if it was not carried out.
pub(super) async fn ended(client: &Client, service: &str, order: u64) -> Result<Status, Failure> {
    loop {
        sleep(ARMING_POLL).await;
        let status: Status = client.get(&resource(service, "")).await?;
        if status.order == Some(order) {
            continue;
        }
        let ended = status.ended.as_ref().filter(|ended| ended.number == order);
        let failure = match ended {
            Some(ended) => ended.failure.clone(),
            None => Some("others came after it; `serin events` has them".to_owned()),
        };
        return match failure {
            None => Ok(status),
            Some(why) => Err(Failure::refused(format!(
                "service `{service}`: the order was not carried out: {why}"
            ))),
        };
    }
}

impl Target {
    async fn put(self, client: &Client, order: BackendOrder) -> Result<Done, ClientError> {
        let backend = format!("/backends/{}", escape(&self.backend));
        client.put(&resource(&self.service, &backend), &order).await
    }
}

/// Asks the daemon to end the data plane and itself, and waits until it has: another may start then.
pub async fn detach(socket: &Path) -> Result<(), ClientError> {
    let () = Client::new(socket).post("/v1/detach", &()).await?;
    let ended = async {
        while UnixStream::connect(socket).await.is_ok() {
            sleep(POLL).await;
        }
    };
    // One that takes longer has no data plane any more, which is what was asked for.
    let _late = timeout(ENDING, ended).await;
    Ok(())
}

pub(super) fn resource(service: &str, below: &str) -> String {
    format!("/v1/services/{}{below}", escape(service))
}

/// Percent-encodes whatever can't stand in a path (RFC 3986, section 2.3).
pub(super) fn escape(name: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped = name.bytes().map(|byte| match byte {
        byte if kept(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    escaped.collect()
}

/// The daemon has another working directory.
fn absolute(file: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let absolute = file.map(std::path::absolute).transpose();
    absolute.map_err(|error| Failure::usage(format!("configuration file: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_holds_stays_within_its_part_of_the_path() {
        for (name, expected) in [
            ("shop", "/v1/services/shop/share"),
            ("a b", "/v1/services/a%20b/share"),
            ("../node", "/v1/services/..%2Fnode/share"),
            ("x?y#z%", "/v1/services/x%3Fy%23z%25/share"),
            ("ü", "/v1/services/%C3%BC/share"),
        ] {
            assert_eq!(resource(name, "/share"), expected);
        }
    }

    #[test]
    fn a_file_is_named_so_that_the_daemon_finds_it() {
        let named = absolute(Some(Path::new("serin.toml"))).map_err(|failure| failure.code);
        let named = named.expect("a working directory").expect("a file");
        assert!(named.is_absolute() && named.ends_with("serin.toml"));
    }
}
