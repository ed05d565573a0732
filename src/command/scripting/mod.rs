//! EVAL, FCALL and their like: which scripts and libraries there are, and how one runs among the other commands of its core.
//!
//! The way of a script: the gate sends EVAL to the core that owns its keys (in cluster mode all have one slot; without keys, and outside of
//! cluster mode, it is the first core), whose handler has the engine of that core run it (`script`). Every command that the script calls is
//! judged and run in `call` as one of its client's would be, and answered to the script. What all of them have changed is one unit of the
//! journal, so that replicas and files get the effects of the script, whole, and never the script.
//!
//! A script that takes longer than `busy-reply-threshold` and has not written is *parked* (`parked`): its core goes on with it a slice at a
//! time, and tells its clients in between that it is busy, or is told to kill it.
//!
//! Every core has a machine of its own, made when it first runs a script. Scripts that one core has learnt with EVAL are told to the others
//! (`Effect::Script`), so that EVALSHA finds them everywhere. Libraries belong to core 0, which hands all of them to every core when one
//! changes (`Publication::Libraries`); a core compiles a library when it first calls a function of it.

mod call;
pub mod eval;
pub mod functions;
pub mod parked;
mod run;
pub mod script;

use std::collections::BTreeMap;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

use parked::Parked;

use crate::command::spec::CommandSpec;
use crate::resp::Args;
use crate::script::{Engine, FunctionFacts, FunctionFlags, Shebang};

/// One core's scripts.
#[derive(Default)]
pub struct Scripting {
    /// Made for the first script; away while one runs.
    engine: Option<Engine>,
    /// By their digests, in lower case.
    scripts: HashMap<String, Script>,
    /// All of the node, by name.
    libraries: Libraries,
    /// The library of each function, whose name is in lower case.
    by_function: HashMap<Vec<u8>, Vec<u8>>,
    /// Generations of libraries that the engine has loaded.
    loaded: HashSet<u64>,
    /// For the next library (core 0).
    next_generation: u64,
    /// The script that has been running for too long.
    parked: Option<Box<Parked>>,
    /// The runtime can take the reply to the script that is about to run later.
    pub may_park: bool,
    /// The error that is about to be written was counted when a command of the script failed with it.
    pub is_error_counted: bool,
}

/// A script that EVAL or SCRIPT LOAD has brought.
struct Script {
    code: Bytes,
    /// Of scripts that say something of themselves.
    flags: Option<FunctionFlags>,
    /// The engine has it.
    is_compiled: bool,
}

/// Libraries by their names.
pub type Libraries = BTreeMap<Vec<u8>, Library>;

/// A library of functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// With its first line.
    pub code: Bytes,
    /// Another one for each library that was ever loaded.
    pub generation: u64,
    pub functions: Vec<FunctionFacts>,
}

/// Which script runs, and since when.
#[derive(Clone, Debug)]
struct Running {
    name: Vec<u8>,
    is_function: bool,
    words: Vec<Vec<u8>>,
    begun_us: u64,
}

/// What INFO tells of scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFigures {
    /// Memory of the Lua machines.
    pub machine_bytes: u64,
    /// Of the code of all scripts that EVAL or SCRIPT LOAD has brought, and of what it takes to find them.
    pub scripts_bytes: u64,
    pub scripts_count: u64,
}

impl ScriptFigures {
    /// The share of another core, which knows the same scripts, or will.
    pub fn add(&mut self, other: ScriptFigures) {
        self.machine_bytes += other.machine_bytes;
        self.scripts_bytes += other.scripts_bytes;
        self.scripts_count = self.scripts_count.max(other.scripts_count);
    }
}

impl Scripting {
    /// Takes over what core 0 has published.
    pub fn set_libraries(&mut self, libraries: Libraries) {
        self.by_function = libraries
            .iter()
            .flat_map(|(name, library)| library.functions.iter().map(move |facts| (facts, name)))
            .map(|(facts, name)| (facts.name.to_ascii_lowercase(), name.clone()))
            .collect();
        self.libraries = libraries;
        let stay = |generation: &u64| self.libraries.values().any(|library| library.generation == *generation);
        let gone: Vec<u64> = self.loaded.iter().filter(|generation| !stay(generation)).copied().collect();
        for generation in gone {
            self.loaded.remove(&generation);
            self.unload(generation);
        }
    }

    pub fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// How many functions all libraries have.
    pub fn functions_count(&self) -> usize {
        self.libraries.values().map(|library| library.functions.len()).sum()
    }

    /// Bytes of the code of all libraries.
    pub fn libraries_bytes(&self) -> u64 {
        self.libraries.values().map(|library| library.code.len() as u64).sum()
    }

    pub fn figures(&self) -> ScriptFigures {
        const ENTRY_BYTES: usize = 40 + size_of::<Script>();
        ScriptFigures {
            machine_bytes: self.engine.as_ref().map_or(0, |engine| engine.memory_bytes() as u64),
            scripts_bytes: self.scripts.values().map(|script| (script.code.len() + ENTRY_BYTES) as u64).sum(),
            scripts_count: self.scripts.len() as u64,
        }
    }

    /// Whether a script or function says of itself that it does not write.
    pub fn only_reads(&self, spec: &CommandSpec, args: &Args<'_>) -> bool {
        let named = args.get(1).unwrap_or_default();
        let flags = match spec.name {
            "eval" => Shebang::of_script(named).ok().and_then(|shebang| shebang.flags),
            "evalsha" => {
                let digest = String::from_utf8_lossy(named).to_ascii_lowercase();
                self.scripts.get(&digest).and_then(|script| script.flags)
            }
            _ => self.find(named).map(|(_, facts)| facts.flags),
        };
        flags.is_some_and(|flags| flags.has(FunctionFlags::NO_WRITES))
    }

    /// Another core has learnt this script.
    pub fn learn(&mut self, digest: String, code: Bytes) {
        let Ok(shebang) = Shebang::of_script(&code) else { return };
        self.scripts.entry(digest).or_insert(Script { code, flags: shebang.flags, is_compiled: false });
    }

    /// Forgets all scripts, and the machine with all that they have left in it.
    fn flush(&mut self) {
        self.scripts.clear();
        self.engine = None;
        self.loaded.clear();
    }

    /// The library with a function, and what it says of that.
    fn find(&self, function: &[u8]) -> Option<(&Library, &FunctionFacts)> {
        let library = self.libraries.get(self.by_function.get(&function.to_ascii_lowercase())?)?;
        let facts = library.functions.iter().find(|facts| facts.name.eq_ignore_ascii_case(function))?;
        Some((library, facts))
    }
}
