//! This node's membership: the state machine and the file that its state is kept in.
//!
//! Owned by core 0. Every event is a `step`: the machine decides, the file is written if it must be, and only then the caller carries
//! out the actions and publishes the view that come back. What an operator orders is done once it is on disk, or not at all (`order`).

use std::io;

use super::core_ports::CorePorts;
use super::file::NodesFile;
use super::machine::{Action, DataFacts, Machine, Now};
use super::nodes_conf;
use super::replies::{Replies, Shown};
use super::settings::ClusterSettings;
use super::state::{ClusterState, Health};
use super::view::ClusterView;
use crate::base::clock::Clock;
use crate::base::hex::HexId;
use crate::base::random::Random;
use crate::config::Config;

/// What others may know before the file does is written this often at most: the core waits for the disk meanwhile, and a large cluster
/// brings much news at once.
pub const SAVE_INTERVAL_MS: u64 = 100;
/// What moves slots key by key is on the disk so much later at most, as the keys are that come with them (`appendfsync everysec`).
const SYNC_INTERVAL_MS: u64 = 1_000;

/// The state machine and the file of its state.
pub struct Membership {
    machine: Machine,
    file: NodesFile,
    /// When it was last written, or was to be, in monotonic milliseconds.
    written_ms: Option<u64>,
    /// What was ordered in this turn is to be written to the file.
    is_noted: bool,
    /// Since when the file has what may not be on the disk, in monotonic milliseconds.
    noted_ms: Option<u64>,
    /// What was logged last of the file: it could not be written.
    has_failed: bool,
    reported: Option<Health>,
    /// Counts the changes of what is published.
    generation: u64,
    replies: Replies,
}

/// What is to be done after an event.
#[derive(Default)]
#[must_use]
pub struct Step {
    pub actions: Vec<Action>,
    /// For every core.
    pub view: Option<ClusterView>,
}

impl Membership {
    /// Takes nodes.conf up, or begins one. `None` when `cluster-enabled` is off.
    ///
    /// # Errors
    /// One line for the operator: the file is in use, damaged, or cannot be written; the port leaves no room for the bus.
    pub fn open(config: &Config, clock: &Clock, random: &mut Random) -> Result<Option<Membership>, String> {
        if !config.cluster_enabled {
            return Ok(None);
        }
        ClusterSettings::check_ports(config)?;
        let name = config.cluster_config_file.as_str();
        let settings = ClusterSettings::of(config);
        let (mut file, content) = NodesFile::open(name)?;
        let state = if content.is_empty() {
            let state = ClusterState::new(HexId::random(random), HexId::random(random), settings);
            tracing::info!("No cluster configuration found, I'm {}", state.myself().id);
            state
        } else {
            let state = nodes_conf::parse(&content, &settings, clock.unix(), random).map_err(|damage| {
                format!(
                    "Unrecoverable error: corrupted cluster config file {name}, line {}: {}",
                    damage.line, damage.reason
                )
            })?;
            tracing::info!("Node configuration loaded, I'm {}", state.myself().id);
            state
        };
        // An older version's file, or one whose announced address is another one now, is brought up to date.
        let text = nodes_conf::format(&state);
        if text.as_bytes() != content {
            file.save(text.as_bytes())
                .map_err(|error| format!("Fatal: can't update cluster config file {name}: {error}"))?;
        }
        let machine = Machine::new(state, Random::new(random.next_u64()), now(clock));
        Ok(Some(Membership {
            machine,
            file,
            written_ms: None,
            is_noted: false,
            noted_ms: None,
            has_failed: false,
            reported: None,
            generation: 0,
            replies: Replies::default(),
        }))
    }

    pub fn state(&self) -> &ClusterState {
        self.machine.state()
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Counts the changes of what cores route by.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where the primary is that this node copies, as far as that is known.
    pub fn primary_address(&self) -> Option<(String, u16)> {
        let address = &self.state().node(self.state().myself().primary?).address;
        (!address.ip.is_empty() && address.port != 0).then(|| (address.ip.clone(), address.port))
    }

    /// The answers that describe the topology, and what they are to show. `own_offset`: how far this node's data are.
    pub fn replies(&mut self, own_offset: u64) -> (&mut Replies, Shown<'_>) {
        let generation = (!self.machine.is_unpublished()).then_some(self.generation);
        (&mut self.replies, Shown { state: self.machine.state(), own_offset, generation })
    }

    /// The view for every core; the caller must publish it.
    pub fn publish(&mut self) -> ClusterView {
        self.generation += 1;
        self.machine.take_unpublished();
        self.state().view()
    }

    /// Says where this node's cores are reached; what follows comes with the next step.
    pub fn note_core_ports(&mut self, ports: Option<CorePorts>) {
        self.machine.note_core_ports(ports);
    }

    /// Says what the data are like, and whether there are any. True when a manual failover has waited for them: a step goes on
    /// with it.
    pub fn note_data(&mut self, data: DataFacts, lacks_data: bool) -> bool {
        self.machine.note_lack_of_data(lacks_data);
        self.machine.note_data(data)
    }

    /// Lets the machine take note of an event.
    pub fn step<T>(&mut self, clock: &Clock, event: impl FnOnce(&mut Machine, Now) -> T) -> (T, Step) {
        let outcome = event(&mut self.machine, now(clock));
        self.machine.settle(now(clock));
        let now_ms = now(clock).ms;
        let is_due = self.written_ms.is_none_or(|written_ms| now_ms.saturating_sub(written_ms) >= SAVE_INTERVAL_MS);
        let is_synced_late = self.noted_ms.is_some_and(|ms| now_ms.saturating_sub(ms) >= SYNC_INTERVAL_MS);
        if self.machine.must_save() || self.machine.is_unsaved() && is_due || is_synced_late && is_due {
            self.written_ms = Some(now_ms);
            let saved = self.write();
            self.note_outcome(&saved);
        }
        (outcome, self.end_step())
    }

    /// Lets the machine carry out an order of the operator.
    ///
    /// # Errors
    /// When the file cannot be written: then nothing has changed.
    pub fn order<T>(&mut self, clock: &Clock, order: impl FnOnce(&mut Machine, Now) -> T) -> io::Result<(T, Step)> {
        self.machine.begin_order();
        let outcome = order(&mut self.machine, now(clock));
        self.machine.settle(now(clock));
        self.write()?;
        Ok((outcome, self.end_step()))
    }

    /// As `order`, for what moves slots key by key, of which there are thousands in a row: all of a turn are written to the file by
    /// `write_noted`, before anybody is told of them; a process that is killed leaves them behind. They are on the disk a second later (Redis
    /// leaves that to the system): the keys that have come with a slot are no safer (`appendfsync everysec`). An epoch is on the disk at once
    /// all the same, and so is everything while the disk fails.
    ///
    /// # Errors
    /// When the file cannot be written: then nothing has changed.
    pub fn order_soon<T>(
        &mut self,
        clock: &Clock,
        order: impl FnOnce(&mut Machine, Now) -> T,
    ) -> io::Result<(T, Step)> {
        self.machine.begin_order();
        let outcome = order(&mut self.machine, now(clock));
        self.machine.settle(now(clock));
        if self.machine.takes_epoch() || self.has_failed {
            self.write()?;
        } else {
            self.machine.noted();
            self.is_noted = true;
        }
        Ok((outcome, self.end_step()))
    }

    /// The end of a turn, before its replies and packets leave: the file gets what was ordered in it.
    #[inline]
    pub fn write_noted(&mut self, clock: &Clock) {
        if self.is_noted {
            self.replace_file(clock);
        }
    }

    #[cold]
    fn replace_file(&mut self, clock: &Clock) {
        let replaced = self.file.replace(nodes_conf::format(self.machine.state()).as_bytes());
        match &replaced {
            Ok(()) => _ = self.noted_ms.get_or_insert(now(clock).ms),
            // It is tried again with each tick, and until that succeeds orders are refused.
            Err(_) => self.machine.not_noted(),
        }
        self.is_noted = false;
        self.note_outcome(&replaced);
    }

    /// CLUSTER SAVECONFIG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&mut self) -> io::Result<()> {
        self.write()
    }

    /// Takes over changed settings at once; the file and the other cores get them with the next step.
    pub fn follow(&mut self, config: &Config) {
        self.machine.follow_settings(&ClusterSettings::of(config));
    }

    /// What is due some ten times a second.
    pub fn tick(&mut self, clock: &Clock, config: &Config) -> Step {
        self.follow(config);
        self.step(clock, Machine::tick).1
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.file.save(nodes_conf::format(self.machine.state()).as_bytes());
        match written {
            Ok(()) => {
                self.machine.saved();
                (self.is_noted, self.noted_ms) = (false, None);
            }
            Err(_) => _ = self.machine.not_saved(),
        }
        written
    }

    /// A disk that fails goes on failing: it is said once.
    fn note_outcome(&mut self, outcome: &io::Result<()>) {
        match outcome {
            Err(error) if !std::mem::replace(&mut self.has_failed, true) => {
                tracing::warn!("Can't update the cluster config file, trying again: {error}");
            }
            Ok(()) if std::mem::take(&mut self.has_failed) => {
                tracing::info!("The cluster config file is written again")
            }
            _ => {}
        }
    }

    fn end_step(&mut self) -> Step {
        let health = self.state().health();
        if self.reported != Some(health) {
            match health {
                Health::Ok => tracing::info!("Cluster state changed: ok"),
                Health::Fail if self.reported.is_some() => tracing::warn!("Cluster state changed: fail"),
                Health::Fail => {}
            }
            self.reported = Some(health);
        }
        let view = self.machine.take_unpublished().then(|| self.state().view());
        self.generation += u64::from(view.is_some());
        Step { actions: self.machine.take_actions(), view }
    }
}

fn now(clock: &Clock) -> Now {
    Now { ms: clock.monotonic_us() / 1000, unix: clock.unix() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::slot::{Slot, SlotSet};
    use crate::cluster::state::SlotOrder;
    use crate::cluster::view::Serving;

    fn config(name: &str) -> (std::path::PathBuf, Config) {
        let path = std::env::temp_dir().join(format!("slotcore-membership-{}-{name}", std::process::id()));
        let file = path.display().to_string();
        (path, Config { cluster_enabled: true, cluster_config_file: file, port: 7000, ..Config::default() })
    }

    fn open(config: &Config) -> Result<Option<Membership>, String> {
        Membership::open(config, &Clock::at(1_000, 1_000), &mut Random::new(5))
    }

    #[test]
    fn a_node_keeps_its_identity_and_its_slots() {
        let (path, config) = config("identity");
        let mut membership = open(&config).unwrap().unwrap();
        let id = membership.state().myself().id;
        let slots: SlotSet = Slot::all().collect();
        let assign = |machine: &mut Machine, _| machine.order_slots(SlotOrder::Assign, &slots);
        let ((), step) = membership.order(&Clock::at(0, 0), assign).unwrap();
        assert!(step.view.is_some_and(|view| view.serving(Slot::new(1)) == Serving::Here && !view.ok));
        assert!(membership.tick(&Clock::at(0, 1_999_999), &config).view.is_none());
        assert!(membership.tick(&Clock::at(0, 2_000_000), &config).view.is_some_and(|view| view.ok));
        assert!(membership.tick(&Clock::at(0, 2_100_000), &config).view.is_none());
        drop(membership);
        let membership = open(&config).unwrap().unwrap();
        assert_eq!(membership.state().myself().id, id);
        assert_eq!(membership.state().slot_counts(), [16384]);
        drop(membership);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_damaged_file_stops_the_start_with_its_name_and_line() {
        let (path, config) = config("damaged");
        std::fs::write(&path, "\nnonsense\n").unwrap();
        let line = open(&config).err().unwrap();
        assert!(line.contains(path.to_str().unwrap()) && line.contains("line 2") && !line.contains('\n'), "{line}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn changed_settings_reach_the_file_and_the_cores() {
        let (path, mut config) = config("settings");
        let mut membership = open(&config).unwrap().unwrap();
        let _ = membership.tick(&Clock::at(0, 0), &config);
        config.cluster_announce_hostname = "here".into();
        assert!(membership.tick(&Clock::at(0, 0), &config).view.is_some());
        assert!(std::fs::read_to_string(&path).unwrap().contains(":7000@17000,here,tls-port=0,"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_cluster_mode_there_is_no_membership() {
        assert!(open(&Config::default()).is_ok_and(|membership| membership.is_none()));
    }
}
