//! The commands of an append-only file: where each runs.
//!
//! The thread that reads the file asks; `execute::replay` runs them on the cores it is told. They have no client: what only reads,
//! or is about a connection, changes nothing and is passed over.

use crate::base::core_id::CoreId;
use crate::base::number::parse_i64;
use crate::base::slot::{Slot, key_slot};
use crate::cluster::view::SlotOwners;
use crate::command::error::CommandError;
use crate::command::gate;
use crate::command::spec::{CommandSpec, Flags, Keys, Run};
use crate::command::table::{CommandId, table};
use crate::resp::Args;

/// Where a command of a file runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// What follows is for this database.
    Select(u16),
    Core {
        command: CommandId,
        core: CoreId,
        /// The slot of all its keys, when they have one.
        slot: Option<Slot>,
    },
    /// Each core does its share.
    EveryCore(CommandId),
    /// It changes no data.
    Nowhere,
}

/// What decides where a command runs.
pub struct Routes {
    pub owners: SlotOwners,
    pub in_cluster: bool,
    pub databases: u64,
}

impl Routes {
    /// Where a command runs.
    ///
    /// # Errors
    /// Why it cannot be run at all, for the operator: nothing of a file is left out in silence.
    pub fn destination(&self, args: &Args<'_>) -> Result<Destination, String> {
        let command = find(args)?;
        let spec = command.spec();
        if spec.name == "select" {
            let index = args.get(1).and_then(parse_i64).and_then(|index| u64::try_from(index).ok());
            let index = index.ok_or("SELECT without the number of a database")?;
            return self.database(index).map(Destination::Select);
        }
        // It tells of slots that were on their way here.
        if spec.name == "cluster|syncslots" {
            return Ok(Destination::EveryCore(command));
        }
        // PFCOUNT reads, and writes down in the key what it has counted.
        let is_kept = spec.flags.has(Flags::MAY_REPLICATE) && matches!(spec.run, Run::OnOwner(_));
        if !spec.flags.has(Flags::WRITE) && !is_kept {
            return Ok(Destination::Nowhere);
        }
        match spec.run {
            Run::OnOwner(_) => self.owner(command, spec, args),
            Run::OnFirstCore(_) => Ok(Destination::Core { command, core: CoreId::FIRST, slot: None }),
            Run::OnEveryCore { .. } | Run::OnFirstCoreAfterAll { .. } => Ok(Destination::EveryCore(command)),
            _ => Err(format!("the command '{}' cannot be run without a client", spec.name)),
        }
    }

    /// A database that this node has.
    ///
    /// # Errors
    /// Redis's text for one that it has not.
    pub fn database(&self, index: u64) -> Result<u16, String> {
        if self.in_cluster && index != 0 {
            return Err("You can't have keys in a DB different than DB 0 when in Cluster mode. Exiting.".to_owned());
        }
        let known = u16::try_from(index).ok().filter(|_| index < self.databases);
        known.ok_or_else(|| {
            format!(
                "FATAL: Data file was created with a Redis server configured to handle more than {} databases. Exiting",
                self.databases
            )
        })
    }

    fn owner(&self, command: CommandId, spec: &CommandSpec, args: &Args<'_>) -> Result<Destination, String> {
        if !self.in_cluster {
            return Ok(Destination::Core { command, core: CoreId::FIRST, slot: None });
        }
        if let Keys::At(at, _) = spec.keys {
            let slot = key_slot(args.get(at).unwrap_or_default());
            return Ok(Destination::Core { command, core: self.owners.owner(slot), slot: Some(slot) });
        }
        let (mut found, mut has_one_slot) = (None, true);
        gate::for_each_key(spec, args, &mut |key| {
            let slot = key_slot(key);
            let core = self.owners.owner(slot);
            match found {
                None => found = Some((core, slot)),
                Some((other, _)) if other != core => return Err(CommandError::CrossSlot),
                Some((_, first)) => has_one_slot &= first == slot,
            }
            Ok(())
        })
        .map_err(|error| format!("'{}': {}", spec.name, error.text()))?;
        let (core, slot) = found.ok_or_else(|| format!("'{}' without a key", spec.name))?;
        Ok(Destination::Core { command, core, slot: has_one_slot.then_some(slot) })
    }
}

/// The row of a command; its arguments are enough for the handler.
fn find(args: &Args<'_>) -> Result<CommandId, String> {
    let name = args.get(0).unwrap_or_default();
    let shown = || String::from_utf8_lossy(name.get(..128).unwrap_or(name)).into_owned();
    let unknown = || format!("Unknown command '{}'", shown());
    let mut command = table().find(name).ok_or_else(unknown)?;
    if command.spec().run.is_container()
        && let Some(sub) = args.get(1)
    {
        command = table().find_sub(command, sub).ok_or_else(unknown)?;
    }
    if !command.spec().arity.accepts(args.len()) {
        return Err(format!("wrong number of arguments for '{}'", shown()));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn routes(in_cluster: bool) -> Routes {
        let owners = if in_cluster { SlotOwners::striped(4) } else { SlotOwners::all_first() };
        Routes { owners, in_cluster, databases: 16 }
    }

    fn destination(routes: &Routes, line: &str) -> Result<Destination, String> {
        let args: ArgsBuf = line.split(' ').collect();
        routes.destination(&args.as_args())
    }

    #[test]
    fn keys_decide_where_a_command_runs() {
        let routes = routes(true);
        let owner = |key: &str| routes.owners.owner(key_slot(key.as_bytes()));
        let core = |line: &str| match destination(&routes, line) {
            Ok(Destination::Core { core, slot, .. }) => (core, slot.is_some()),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(core("SET foo 1"), (owner("foo"), true));
        assert_eq!(core("del {a}1 {a}2"), (owner("a"), true));
        assert_eq!(core("pfcount foo"), (owner("foo"), true));
        let far = (0..).map(|n| n.to_string()).find(|key| owner(key) != owner("foo")).unwrap();
        let near = (0..).map(|n| n.to_string()).find(|key| owner(key) == owner("foo")).unwrap();
        assert!(destination(&routes, &format!("del foo {far}")).is_err());
        assert_eq!(core(&format!("del foo {near}")), (owner("foo"), false));
        assert!(matches!(destination(&routes, "flushall"), Ok(Destination::EveryCore(_))));
    }

    #[test]
    fn what_changes_nothing_goes_nowhere_and_what_is_unknown_is_an_error() {
        let routes = routes(false);
        for line in ["ping", "get a", "publish a b", "multi"] {
            assert_eq!(destination(&routes, line), Ok(Destination::Nowhere), "{line}");
        }
        assert_eq!(destination(&routes, "select 15"), Ok(Destination::Select(15)));
        for (line, error) in [
            ("nosuch a", "Unknown command 'nosuch'"),
            ("set a", "wrong number of arguments for 'set'"),
            ("select x", "SELECT without the number of a database"),
            (
                "select 16",
                "FATAL: Data file was created with a Redis server configured to handle more than 16 databases. Exiting",
            ),
        ] {
            assert_eq!(destination(&routes, line), Err(error.to_owned()));
        }
    }
}
