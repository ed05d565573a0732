//! The node at work: threads, rings, sockets, signals. The only folder that names io-uring or a socket.
//!
//! `start` takes a configuration and returns when the node has stopped: `preflight` (can this machine run us),
//! `listen` (the doors), then one `worker` per core, tied together by the `mesh`. A core's thread runs the worker's turn loop and
//! sleeps in its `ring`, nowhere else: everything that a core waits for comes through it.
//!
//! There is no executor. The turn loop was once a task of one (glommio 0.9), and a quiet core slept in that. Its `run_task_queues`
//! tells "nothing ran, because the time slice was over before it began" as "nothing is left to run"; a core that lost its CPU for
//! the length of a slice between two of its calls then slept with its task runnable and no timer, until a signal came: minutes
//! without a reply, once in some hundred starts on a machine with many more threads than CPUs. Sleeping in the ring costs a system call
//! less, locks a quarter of the memory, and needs no second thread per core.

mod admission;
pub mod allocator;
mod batch;
mod bus;
mod census;
mod connection;
mod ledger;
mod listen;
pub mod log;
mod machine;
mod mesh;
mod migrate;
mod persistence;
mod preflight;
mod replication;
mod requests;
mod ring;
mod send_queue;
mod share;
mod tick;
mod worker;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use slab::Slab;

use crate::base::clock::{Clock, NanoClock};
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::random::Random;
use crate::cluster::membership::Membership;
use crate::cluster::view::{ClusterView, SlotOwners};
use crate::command::core::{Core, NodeFacts};
use crate::command::latency::LatencyEvents;
use crate::command::node::Node;
use crate::command::pause::Pause;
use crate::command::persistence::DiskView;
use crate::command::persistence::Persistence;
use crate::command::persistence::saving::Saving;
use crate::command::replication::upstream::Upstream;
use crate::command::replication::{Replication, ReplicationView, Role};
use crate::command::slot_usage::SlotUsage;
use crate::command::slowlog::SlowLog;
use crate::command::stats::CoreStats;
use crate::config::{Config, Cores, Primary};
use crate::keyspace::{Keyspace, KeyspaceOptions};
use bus::Bus;
use ledger::CoreLedger;
use mesh::Mesh;
pub use persistence::check_aof;

use census::Census;
use persistence::append_only::{AppendFile, Folder, Loaded};
use persistence::loading::{Ends, Inbox, KeyRules, Part, Plan, Prepared, Underway};
use requests::OnBus;
use worker::{Doors, Worker};

/// Stack of a core's thread, the kernel's usual size.
const STACK_BYTES: usize = 8 << 20;

/// What runs beside the cores and speaks with the node as its clients do.
pub type Companion = Box<dyn FnOnce() + Send>;

/// What every core's thread starts from.
#[derive(Clone)]
struct Seed {
    config: Config,
    facts: NodeFacts,
    hash_seeds: [u64; 4],
    cluster: ClusterView,
    census: Arc<Census>,
    /// There are data to load first.
    loads: bool,
}

/// What only core 0's thread starts from.
struct FirstCore {
    membership: Option<Box<Membership>>,
    doors: Doors,
    /// The sockets of the cluster bus, in cluster mode.
    bus: Option<Bus>,
    /// The folder and each core's file, with `appendonly yes` and nothing to load.
    append_only: Option<(Folder, Vec<AppendFile>)>,
    underway: Option<Box<Underway>>,
}

/// Runs the node until it is told to stop. `companion`, if there is one, runs beside the cores on a thread of its own, which ends with the
/// process.
///
/// # Errors
/// One line for the operator: what cannot be had and how to mend it.
pub fn start(mut config: Config, config_file: String, companion: Option<Companion>) -> Result<(), String> {
    end_with_the_first_panic();
    let cores_count = match config.cores {
        Cores::Count(count) => usize::from(count),
        Cores::Auto => std::thread::available_parallelism().map_or(1, |n| n.get()).min(CoreId::COUNT_MAX),
    };
    preflight::check(cores_count)?;
    if config.disable_thp {
        preflight::switch_huge_pages_off();
    }
    let signals = take_signals()?;
    config.maxclients = preflight::fit_open_files(config.maxclients)?;
    let cpus = placement_cpus(&config)?;
    let mut random = Random::from_entropy();
    let facts = facts(&mut random, cores_count, config_file);
    tracing::warn!(
        "slotcore {} is starting: PID: {}, {cores_count} core(s)",
        env!("CARGO_PKG_VERSION"),
        facts.process_id
    );
    let mut membership = Membership::open(&config, &Clock::read(), &mut random)?.map(Box::new);
    let cluster = membership.as_mut().map_or_else(ClusterView::disabled, |membership| membership.publish());
    config.replicaof = config.replicaof.or_else(|| start_primary(membership.as_deref()));
    let listeners = listen::listen(&config, cores_count)?;
    let bus = if config.cluster_enabled { Some(Bus::new(listen::listen_for_bus(&config)?)) } else { None };
    let unix_paths: Vec<String> = listeners.iter().filter_map(|listener| listener.unix_path.clone()).collect();
    let hash_seeds = std::array::from_fn(|_| random.next_u64());
    let seed = Seed { config, facts, hash_seeds, cluster, census: Census::new(cores_count), loads: false };
    // Redis's words, at the place where it has them: whoever waits for them waits for its data next.
    tracing::info!("Server initialized");
    if let Some(companion) = companion {
        // Not before signals are blocked: a thread takes over what its maker blocks.
        let thread = std::thread::Builder::new().name("companion".to_owned());
        thread.spawn(companion).map_err(|error| format!("Can't start a thread: {error}"))?;
    }
    let first = FirstCore { membership, doors: Doors::new(listeners, signals), bus, append_only: None, underway: None };
    let result = run(seed, first, &cpus);
    for path in unix_paths {
        let _ = std::fs::remove_file(path);
    }
    result
}

/// Finds what there is to load and runs the cores.
fn run(mut seed: Seed, mut first: FirstCore, cpus: &[usize]) -> Result<(), String> {
    let (config, cores_count) = (&seed.config, seed.facts.cores_count);
    let folder = if config.appendonly { Some(Folder::open(config)?) } else { None };
    let plan = folder.as_ref().map_or_else(|| Plan::snapshot(config), Plan::append_only)?;
    let (folder, append_only) = match folder {
        Some(folder) if plan.is_none() => (None, Some(begin_append_only(folder, config, cores_count)?)),
        folder => (folder.map(|folder| (folder, writers_count(config, cores_count))), None),
    };
    seed.loads = plan.is_some();
    first.append_only = append_only;
    run_cores(&seed, first, plan.map(|plan| (plan, folder)), cpus)
}

/// A core that panics takes its slots' data with it: the node must not go on without them, half alive.
fn end_with_the_first_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        tracing::error!("=== BUG: {panic}");
        std::process::abort();
    }));
}

/// SIGTERM and SIGINT come to core 0 through a descriptor; a peer that closes early is an error of a send, no signal.
fn take_signals() -> Result<SignalFd, String> {
    let wanted = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    let ignored = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGPIPE, Signal::SIGHUP]);
    ignored.thread_block().map_err(|error| format!("Can't block signals: {error}"))?;
    SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| format!("signalfd: {error}"))
}

/// The CPUs of `server-cpulist`, in order; empty for no pinning. `0-3`, `0,2`, `0-6:2` as in Redis.
fn placement_cpus(config: &Config) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in config.server_cpulist.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (range, step) = part.split_once(':').map_or((part, "1"), |(range, step)| (range, step));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            text.trim().parse::<usize>().map_err(|_| format!("server-cpulist: '{part}' is no list of CPUs"))
        };
        let (first, last, step) = (number(first)?, number(last)?, number(step)?.max(1));
        cpus.extend((first..=last).step_by(step));
    }
    Ok(cpus)
}

fn facts(random: &mut Random, cores_count: usize, config_file: String) -> NodeFacts {
    let system = nix::sys::utsname::uname().ok();
    let operating_system = system.map_or_else(String::new, |system| {
        let part = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        format!("{} {} {}", part(system.sysname()), part(system.release()), part(system.machine()))
    });
    NodeFacts {
        run_id: HexId::random(random),
        cores_count,
        started_unix_s: Clock::read().unix().seconds(),
        process_id: std::process::id(),
        executable: std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
        config_file,
        operating_system,
    }
}

/// The append-only files that the cores write to: one for each core that owns slots.
fn begin_append_only(
    mut folder: Folder,
    config: &Config,
    cores_count: usize,
) -> Result<(Folder, Vec<AppendFile>), String> {
    // If there are files, nothing is in them.
    let loaded = Loaded { may_continue: true, ..Loaded::default() };
    let files = folder.begin(writers_count(config, cores_count), &loaded)?;
    Ok((folder, files))
}

/// How many cores own slots.
fn writers_count(config: &Config, cores_count: usize) -> usize {
    if config.cluster_enabled { cores_count } else { 1 }
}

fn slot_owners(config: &Config, cores_count: usize) -> SlotOwners {
    if config.cluster_enabled { SlotOwners::striped(cores_count) } else { SlotOwners::all_first() }
}

fn run_cores(
    seed: &Seed,
    mut first: FirstCore,
    load: Option<(Plan, Option<(Folder, usize)>)>,
    cpus: &[usize],
) -> Result<(), String> {
    let cores_count = seed.facts.cores_count;
    let meshes = Mesh::build(cores_count).map_err(|error| format!("Can't connect the cores: {error}"))?;
    let mut load = load.map(|(plan, folder)| {
        let owners = slot_owners(&seed.config, cores_count);
        Prepared::new(plan, folder, &seed.config, owners, meshes[0].bells(), cores_count)
    });
    first.underway = load.as_ref().map(|load| Box::new(load.underway(cores_count, Ends::Start)));
    let mut parts = load.as_mut().map(Prepared::parts).into_iter().flatten();
    let mut first = Some(first);
    let mut threads = Vec::new();
    for (index, mesh) in meshes.into_iter().enumerate() {
        let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
        let (seed, first, part) = (seed.clone(), first.take_if(|_| index == 0), parts.next());
        let thread = std::thread::Builder::new().name(format!("core-{index}")).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || run_core(CoreId::new(index), &seed, first, part, mesh, cpu));
        threads.push(thread.map_err(|error| format!("Can't start a thread: {error}"))?);
    }
    if let Some(load) = load {
        load.begin(true).map_err(|error| format!("Can't start a thread: {error}"))?;
    }
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(line)) => return Err(line),
            Err(_) => unreachable!("a panic ends the process"),
        }
    }
    Ok(())
}

/// The life of one core's thread.
fn run_core(
    id: CoreId,
    seed: &Seed,
    first: Option<FirstCore>,
    part: Option<(Inbox, KeyRules)>,
    mesh: Mesh,
    cpu: Option<usize>,
) -> Result<(), String> {
    if let Some(cpu) = cpu {
        pin_to(cpu).map_err(|error| format!("Core {} could not be pinned to CPU {cpu}: {error}", id.index()))?;
    }
    let (membership, doors, bus, append_only, underway) = first.map_or((None, None, None, None, None), |first| {
        (first.membership, Some(first.doors), first.bus, first.append_only, first.underway)
    });
    let doors = doors.map(|doors| Rc::new(RefCell::new(doors)));
    let core = new_core(id, seed, membership, doors.as_ref());
    let (folder, files) = append_only.map_or((None, Vec::new()), |(folder, files)| (Some(folder), files));
    let census = seed.census.clone();
    let is_first = doors.is_some();
    let worker = Worker::new(core, mesh, census, doors);
    let mut worker = worker.map_err(|error| format!("Core {} could not be set up: {error}", id.index()))?;
    worker.requests.folder = folder;
    worker.requests.begin_append_only(files);
    worker.requests.underway = underway;
    worker.requests.on_bus = bus.map(|bus| Box::new(OnBus::new(bus)));
    worker.requests.loading = part.map(|(inbox, rules)| Box::new(Part::new(inbox, rules, &worker.requests.core)));
    if is_first && worker.requests.underway.is_none() {
        tracing::info!("Ready to accept connections tcp");
    }
    match worker.run() {
        Ok(Some(_)) => tracing::warn!("slotcore is now ready to exit, bye bye..."),
        Ok(None) => {}
        Err(error) => return Err(format!("Core {} could not go on: {error}", id.index())),
    }
    Ok(())
}

/// Keeps the calling thread on one CPU.
fn pin_to(cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// The primary that nodes.conf has for this node.
fn start_primary(membership: Option<&Membership>) -> Option<Primary> {
    let (host, port) = membership?.primary_address()?;
    Some(Primary { host, port })
}

/// What the node begins as: `replicaof`, or as nodes.conf has it.
fn start_role(config: &Config) -> Role {
    if config.replicaof.is_some() { Role::Replica { is_linked: false } } else { Role::Primary }
}

fn new_replication(config: &Config, random: &mut Random, cores_count: usize) -> Replication {
    let upstream = config.replicaof.as_ref().map(|primary| Upstream::new(primary, Clock::read().unix()));
    let mut replication = Replication::new(random, cores_count);
    replication.upstream = upstream;
    replication
}

fn new_core(id: CoreId, seed: &Seed, membership: Option<Box<Membership>>, doors: Option<&Rc<RefCell<Doors>>>) -> Core {
    let config = seed.config.clone();
    let mut random = Random::from_entropy();
    let node = doors.map(|doors| {
        Box::new(Node {
            config: config.clone(),
            cluster: membership,
            closing_slots: Default::default(),
            migrations: Default::default(),
            persistence: Persistence { saving: Saving::new(seed.facts.started_unix_s), ..Persistence::default() },
            replication: new_replication(&config, &mut random, seed.facts.cores_count),
            machine: Box::new(machine::Process::new(seed.census.clone(), doors.clone())),
            links: HashMap::new(),
        })
    });
    let databases = if config.cluster_enabled { 1 } else { config.databases as usize };
    let access = crate::command::server::access_policy(&config);
    let mut core = Core {
        id,
        facts: Rc::new(seed.facts.clone()),
        keyspace: Keyspace::new(KeyspaceOptions { databases, hash_seeds: seed.hash_seeds, access }),
        clients: Slab::new(),
        owners: slot_owners(&config, seed.facts.cores_count),
        cluster: seed.cluster.clone(),
        migration: Default::default(),
        relocation: None,
        replication: ReplicationView { role: start_role(&config), ..ReplicationView::default() },
        own_expiries: Default::default(),
        disk: DiskView { loading: seed.loads, ..DiskView::default() },
        append_figures: Default::default(),
        journal: Default::default(),
        clock: Clock::read(),
        nanos: NanoClock::new(),
        random,
        stats: CoreStats::new(crate::command::table::table().len()),
        slot_usage: SlotUsage::default(),
        slowlog: SlowLog::new(config.slowlog_max_len as usize),
        latency: LatencyEvents::default(),
        guest: None,
        wait: None,
        blocked: Default::default(),
        migrations: Default::default(),
        watches: Default::default(),
        scripting: Default::default(),
        in_script: false,
        allows_all_in_scripts: false,
        tracking: Default::default(),
        running_client: 0,
        subscriptions: Default::default(),
        monitors: Vec::new(),
        pause: Pause::default(),
        active_expire: true,
        slow_threshold_ns: u64::MAX,
        effects: Vec::new(),
        node,
        startup_bytes: 0,
        paused_tick: false,
        skips_checksums: false,
        memory: allocator::figures,
        departing_bytes: 0,
        ledger: Box::new(CoreLedger::new(seed.census.ledger.clone(), id)),
        config: Box::new(config),
    };
    core.settings_changed(&[]);
    core
}
