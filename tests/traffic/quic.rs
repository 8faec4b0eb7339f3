//! QUIC connections live through releases, and new ones go where new ones go.

use std::{
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    topology::{Backend, Lab, VIP_V4, VIP_V6},
};
use tokio::{runtime, sync::oneshot, task::JoinSet, time::timeout};

use crate::stage::{Way, names, user};

in_both_modes!(
    quic_connections_live_through_every_change_in_nat,
    quic_connections_live_through_every_change_in_l2,
);

pub const VIPS: [SocketAddr; 2] = [SocketAddr::new(VIP_V4, 443), SocketAddr::new(VIP_V6, 443)];
const NAME: &str = "shop.test";
/// Connections of each family that are opened at each stage of the story.
const EACH: u32 = 10;
/// Longer than QUIC takes to repeat a lost packet several times.
const PATIENCE: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(20);

fn quic_connections_live_through_every_change_in_nat(attach: Attach) -> Result<()> {
    live_through_every_change(Way::Nat, attach)
}

fn quic_connections_live_through_every_change_in_l2(attach: Attach) -> Result<()> {
    live_through_every_change(Way::L2, attach)
}

fn live_through_every_change(way: Way, attach: Attach) -> Result<()> {
    let lab = way.lab(4)?;
    let port = match way {
        Way::Nat => 4433,
        Way::L2 | Way::Ipip | Way::Gue => 443,
    };
    let identity = Identity::new()?;
    let _servers = serve(&lab, port, &identity, None)?;
    let mut shop = Service::shop(&lab, way.word(), port);
    shop.listen = VIPS.map(|vip| format!("udp://{vip}?quic")).to_vec();
    "2s".clone_into(&mut shop.drain);
    let daemon = Daemon::run(&lab, attach, vec![shop])?;

    let runtime = runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    let _inside = lab.clients.enter()?;
    runtime.block_on(async {
        let mut crowd = Crowd::new(identity);
        crowd.grow('b').await?;
        // What settles in between, and what is changed before it could.
        for (order, new, settles) in [
            ("share shop 50%", None, false),
            ("weight shop b1 3", None, true),
            ("cutover shop", Some('g'), false),
            ("rollback shop", Some('b'), false),
            ("cutover shop --to green", Some('g'), true),
            ("share shop 30%", None, true),
            ("rollback shop", Some('g'), true),
        ] {
            let words: Vec<&str> = order.split(' ').collect();
            daemon.serin(&words)?;
            crowd.ask_all().await.context(order)?;
            if let Some(new) = new {
                crowd.grow(new).await.context(order)?;
            }
            if settles {
                deadline::until("the change to settle", LIMIT, || {
                    let status = daemon.serin(&["status", "shop"])?;
                    Ok((status["settled"] == true).then_some(()))
                })?;
                crowd.ask_all().await.context(order)?;
            }
        }
        anyhow::Ok(())
    })
}

/// Connections that are open, each from a port of its own.
pub struct Crowd {
    identity: Identity,
    members: Vec<Member>,
}

pub struct Member {
    connection: Connection,
    server: String,
    endpoint: Endpoint,
}

impl Crowd {
    pub const fn new(identity: Identity) -> Self {
        Self {
            identity,
            members: Vec::new(),
        }
    }

    /// More connections, which servers of the pool with this letter must answer.
    pub async fn grow(&mut self, pool: char) -> Result<()> {
        for vip in VIPS {
            for number in 0..EACH {
                let member = self
                    .join(SocketAddr::new(user(number, vip), 0), vip)
                    .await?;
                anyhow::ensure!(
                    member.server.starts_with(pool),
                    "a new connection went to {}",
                    member.server
                );
                self.members.push(member);
            }
        }
        Ok(())
    }

    /// All of them go on from another port, as behind a NAT that has forgotten them.
    pub fn rebind_all(&self) -> Result<()> {
        for Member { endpoint, .. } in &self.members {
            let address = endpoint.local_addr()?.ip();
            endpoint.rebind(UdpSocket::bind((address, 0))?)?;
        }
        Ok(())
    }

    async fn join(&self, from: SocketAddr, vip: SocketAddr) -> Result<Member> {
        let mut endpoint = Endpoint::client(from)?;
        endpoint.set_default_client_config(self.identity.client()?);
        let connection = timeout(PATIENCE, endpoint.connect(vip, NAME)?)
            .await
            .context("no handshake in time")??;
        let server = ask(&connection).await?;
        Ok(Member {
            connection,
            server,
            endpoint,
        })
    }

    /// All of them at once; each must be answered by its own server.
    pub async fn ask_all(&self) -> Result<()> {
        let mut asked = JoinSet::new();
        for member in &self.members {
            let (connection, server) = (member.connection.clone(), member.server.clone());
            asked.spawn(async move {
                let answer = ask(&connection).await.with_context(|| server.clone())?;
                anyhow::ensure!(answer == server, "{server} answered as {answer}");
                Ok(())
            });
        }
        while let Some(done) = asked.join_next().await {
            done??;
        }
        Ok(())
    }
}

/// One request, and the name of who answers it.
async fn ask(connection: &Connection) -> Result<String> {
    let conversation = async {
        let (mut sender, mut receiver) = connection.open_bi().await?;
        sender.write_all(b"who are you?").await?;
        sender.finish()?;
        let name = receiver.read_to_end(64).await?;
        Ok(String::from_utf8(name)?)
    };
    timeout(PATIENCE, conversation)
        .await
        .context("no answer in time")?
}

/// What servers show, and clients trust.
#[derive(Clone)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Ok(Self {
            certificate: made.cert.der().clone(),
            key: Arc::new(key),
        })
    }

    fn server(&self) -> Result<ServerConfig> {
        let chain = vec![self.certificate.clone()];
        Ok(ServerConfig::with_single_cert(chain, self.key.clone_key())?)
    }

    fn client(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(ClientConfig::with_root_certificates(Arc::new(roots))?)
    }
}

/// A server in a backend's namespace; gone with its connections when dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

/// What a server is told of how to make connection ids.
pub type Ids = fn(&str) -> EndpointConfig;

/// A server on each backend, whose connection ids are made by `ids`.
pub fn serve(lab: &Lab, port: u16, identity: &Identity, ids: Option<Ids>) -> Result<Vec<Server>> {
    let named = lab.backends.iter().zip(names(lab.backends.len()));
    let server = |(backend, (_, name)): (&Backend, (_, String))| {
        let ours = ids.map_or_else(EndpointConfig::default, |ids| ids(&name));
        start(backend, port, name, (ours, identity.server()?))
    };
    named.map(server).collect()
}

fn start(
    backend: &Backend,
    port: u16,
    name: String,
    (ours, config): (EndpointConfig, ServerConfig),
) -> Result<Server> {
    let socket = {
        let _inside = backend.namespace.enter()?;
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = backend.namespace.thread("quic", move || {
        let runtime = runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        runtime.block_on(async {
            let endpoint = Endpoint::new(ours, Some(config), socket, Arc::new(TokioRuntime))?;
            tokio::spawn(accept(endpoint, name.into()));
            let _ = stopped.await;
            Ok(())
        })
    })?;
    Ok(Server {
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn accept(endpoint: Endpoint, name: Arc<str>) {
    while let Some(incoming) = endpoint.accept().await {
        let name = Arc::clone(&name);
        tokio::spawn(async move {
            // A client that is gone is nothing to report: the client's side tells.
            let Ok(connection) = incoming.await else {
                return;
            };
            while let Ok((mut sender, mut receiver)) = connection.accept_bi().await {
                if receiver.read_to_end(64).await.is_ok() {
                    let _ = sender.write_all(name.as_bytes()).await;
                    let _ = sender.finish();
                }
            }
        });
    }
}
