//! This node's membership: the cluster state and the file it is kept in, changed together.
//!
//! Owned by core 0. A change is made to a copy, saved, and only then in force: what was published or acknowledged is on disk.
//! The caller publishes the view that a change returns.

use std::io;

use super::file::NodesFile;
use super::nodes_conf;
use super::settings::ClusterSettings;
use super::state::{ClusterState, Health};
use super::view::ClusterView;
use crate::base::clock::Clock;
use crate::base::hex::HexId;
use crate::base::random::Random;
use crate::config::Config;

/// The cluster state and its file.
pub struct Membership {
    state: ClusterState,
    file: NodesFile,
    /// The state follows settings that the file does not have yet.
    is_unsaved: bool,
    /// The state differs from the last view that was given out.
    is_unpublished: bool,
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
        Ok(Some(Membership { state, file, is_unsaved: false, is_unpublished: true }))
    }

    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// The view for every core; the caller must publish it.
    pub fn publish(&mut self) -> ClusterView {
        self.is_unpublished = false;
        self.state.view()
    }

    /// Makes a change, judges the cluster anew, saves, and returns what is to be published.
    ///
    /// # Errors
    /// When the file cannot be written: then nothing has changed.
    pub fn change(&mut self, clock: &Clock, change: impl FnOnce(&mut ClusterState)) -> io::Result<ClusterView> {
        let mut next = self.state.clone();
        change(&mut next);
        if next.evaluate(monotonic_ms(clock)) {
            report(next.health());
        }
        self.file.save(nodes_conf::format(&next).as_bytes())?;
        self.state = next;
        self.is_unsaved = false;
        Ok(self.publish())
    }

    /// CLUSTER SAVECONFIG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&mut self) -> io::Result<()> {
        self.file.save(nodes_conf::format(&self.state).as_bytes())?;
        self.is_unsaved = false;
        Ok(())
    }

    /// Takes over changed settings at once; the file and the other cores get them with the next tick.
    pub fn follow(&mut self, config: &Config) {
        if self.state.follow(&ClusterSettings::of(config)) {
            (self.is_unsaved, self.is_unpublished) = (true, true);
        }
    }

    /// What is due some ten times a second: settings, time. Returns what is to be published.
    pub fn tick(&mut self, clock: &Clock, config: &Config) -> Option<ClusterView> {
        self.follow(config);
        // A cluster that is well stays so until something happens to it.
        if (self.is_unpublished || self.state.health() == Health::Fail) && self.state.evaluate(monotonic_ms(clock)) {
            report(self.state.health());
            self.is_unpublished = true;
        }
        if self.is_unsaved
            && let Err(error) = self.save()
        {
            tracing::warn!("Can't update the cluster config file, trying again: {error}");
        }
        self.is_unpublished.then(|| self.publish())
    }
}

fn monotonic_ms(clock: &Clock) -> u64 {
    clock.monotonic_us() / 1000
}

fn report(health: Health) {
    match health {
        Health::Ok => tracing::info!("Cluster state changed: ok"),
        Health::Fail => tracing::warn!("Cluster state changed: fail"),
    }
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
        let view = membership.change(&Clock::at(0, 0), |state| state.order(SlotOrder::Assign, &slots)).unwrap();
        assert!(view.serving(Slot::new(1)) == Serving::Here && !view.ok);
        assert!(membership.tick(&Clock::at(0, 1_999_999), &config).is_none());
        assert!(membership.tick(&Clock::at(0, 2_000_000), &config).is_some_and(|view| view.ok));
        assert!(membership.tick(&Clock::at(0, 2_100_000), &config).is_none());
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
        membership.tick(&Clock::at(0, 0), &config);
        config.cluster_announce_hostname = "here".into();
        assert!(membership.tick(&Clock::at(0, 0), &config).is_some());
        assert!(std::fs::read_to_string(&path).unwrap().contains(":7000@17000,here,tls-port=0,"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_cluster_mode_there_is_no_membership() {
        assert!(open(&Config::default()).is_ok_and(|membership| membership.is_none()));
    }
}
