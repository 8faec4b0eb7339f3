//! The daemon's core on maps in the kernel, and beside it the model: both meet the same events.
//!
//! Time is the test's own. `orders` gives the core its orders, `follow` has the model take in what
//! came of them and asks whether it may be so, `time` whether what is due was done, `send` sends a
//! packet and `compare` looks at what it has left in the maps.

mod clocked;
mod compare;
mod follow;
mod orders;
mod send;
mod time;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lb_userspace::{
    config::Config,
    control::{Control, ControlError, node},
    dataplane::{Table, kernel::detach},
};
use serin_tests::{
    netns::{Entered, Namespace},
    unique,
};
use tempfile::TempDir;

use self::{
    clocked::{Book, Clocked},
    compare::Fates,
    orders::Waiting,
};
use super::{
    event::Event,
    reference::{Flow, Mapping, Model, Service},
    site::{SERVICES, Site},
    slots::Dealt,
    tally::Tally,
};

/// Both of them.
pub struct World {
    control: Option<Control<Clocked>>,
    book: Arc<Mutex<Book>>,
    model: Model,
    /// The file that is in force.
    site: Site,
    /// The file that is to be, once the sessions that it moves have been pinned.
    wished: Option<Site>,
    /// The order that waits, by service.
    waiting: [Option<Waiting>; SERVICES],
    /// Sessions that were met while an order waits: their backend, its generation, and when.
    sessions: HashMap<Flow, (u16, u16, u32)>,
    /// How each pool was dealt, and its table, by service and number.
    dealt: HashMap<(usize, u32), (Table, Dealt)>,
    /// The number that the site has for each backend, by id.
    numbers: HashMap<u16, usize>,
    tick: u32,
    began: Instant,
    tally: Tally,
    fates: Fates,
    pins: PathBuf,
    directory: TempDir,
    // In this order: the thread goes home, then its namespace goes.
    _inside: Entered,
    _namespace: Namespace,
}

/// So far from the real time that no real pause is seen.
const FAR: Duration = Duration::from_hours(24);
const FIRST_TICK: u32 = 1000;
const TICK: Duration = Duration::from_nanos(1 << 30);

impl World {
    /// Both at rest, with this file.
    pub fn new(site: &Site) -> Self {
        let namespace = Namespace::create("model").expect("root makes namespaces");
        let inside = namespace.enter().expect("root enters namespaces");
        let pins = Path::new("/sys/fs/bpf").join(unique::name());
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory for files");
        let config = Config::parse(&site.text(directory.path(), &pins)).expect("a good site");
        let services = site.services.iter();
        let services = services.map(|it| Service::at_rest(it.manner(), Mapping::default()));
        let mut world = Self {
            control: None,
            book: Arc::default(),
            model: Model::new(node(&config), services.collect()),
            site: site.clone(),
            wished: None,
            waiting: std::array::from_fn(|_| None),
            sessions: HashMap::new(),
            dealt: HashMap::new(),
            numbers: HashMap::new(),
            tick: FIRST_TICK,
            began: Instant::now() + FAR,
            tally: Tally::default(),
            fates: Fates::default(),
            pins,
            directory,
            _inside: inside,
            _namespace: namespace,
        };
        world.restart().expect("the first start");
        world.follow().expect("slots are dealt by the rules");
        world
    }

    /// What has come to pass.
    pub const fn tally(&self) -> Tally {
        Tally {
            dropped: self.fates.empty + self.fates.lost,
            reset: self.fates.reset,
            ..self.tally
        }
    }

    /// Lets both meet an event; says where they part.
    pub fn meet(&mut self, event: &Event) -> Result<(), String> {
        if let Event::Packet(packet) = event {
            return self.send(packet);
        }
        self.compare()?;
        let came = self.come(event);
        came.map_err(|said| format!("{event:?}: {said}"))
    }

    fn come(&mut self, event: &Event) -> Result<(), String> {
        match self.order(event) {
            Err(
                error @ (ControlError::Kernel(_)
                | ControlError::File(_)
                | ControlError::Unfinished(_)),
            ) => return Err(error.to_string()),
            Ok(came) => self.obeyed(event, came)?,
            // Orders at random are often refused.
            Err(_) => {}
        }
        self.follow()?;
        if let Event::Pass { .. } = event {
            self.settle()?;
            self.sweep()?;
            self.deadlines()?;
            self.punctual()?;
            self.take_wished().map_err(|error| error.to_string())?;
            self.follow()?;
        }
        self.sweep()?;
        self.deadlines()
    }

    fn control(&mut self) -> &mut Control<Clocked> {
        self.control.as_mut().expect("started")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.control = None;
        if let Err(error) = detach(&self.pins) {
            eprintln!("{} is left behind: {error}", self.pins.display());
        }
    }
}
