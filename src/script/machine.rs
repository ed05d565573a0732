//! The Lua machine itself: its globals, the scripts and functions that it has compiled, and the jobs that it does.

use std::collections::HashMap;

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::api::{self, Context};
use super::engine::{Demand, Edge, Supply};
use super::library::{FunctionFacts, Registry};
use super::values;
use crate::resp::{Reply, ReplyBuffer, RespVersion};

/// Instructions between two looks at the clock, as in Redis.
const TICK_INSTRUCTIONS: u32 = 100_000;
/// After so many scripts the machine collects garbage for a while, rather than all of it at once some time.
const COLLECT_PERIOD: u32 = 50;

/// What a machine can be asked to do.
pub enum Job {
    /// Compile a script and keep it under its digest.
    Compile { digest: String, code: Vec<u8> },
    /// Run a script that was compiled. `version` is the client's.
    Run { digest: String, keys: Vec<Vec<u8>>, argv: Vec<Vec<u8>>, version: RespVersion },
    /// Run the code of a library, which registers functions; they are kept under `generation`.
    Load { generation: u64, code: Vec<u8> },
    /// Forget what a library has registered.
    Unload { generation: u64 },
    /// Call a function of a library.
    Call { generation: u64, function: Vec<u8>, keys: Vec<Vec<u8>>, argv: Vec<Vec<u8>>, version: RespVersion },
}

/// How a job ended.
pub enum Outcome {
    /// Compiled or unloaded.
    Done,
    /// The text of why code could not be compiled, or a library not be loaded.
    Failed(Vec<u8>),
    /// What a library has registered.
    Loaded(Vec<FunctionFacts>),
    /// What the script has returned, or the error that has ended it. `is_counted`: the error is one that a command was answered
    /// with, and in the books already.
    Reply { reply: ReplyBuffer, failed: bool, is_counted: bool },
}

pub(super) struct Machine {
    lua: Lua,
    context: Context,
    scripts: HashMap<String, Function>,
    libraries: HashMap<u64, HashMap<Vec<u8>, Function>>,
    /// The globals behind those that scripts see, into which KEYS and ARGV go.
    globals: Table,
    /// What scripts see, and what libraries do.
    script_env: Table,
    library_env: Table,
    /// Lets libraries see what they see while they are loaded, or all.
    switch_library: Function,
    runner: Function,
    registry: Registry,
    runs_count: u32,
}

impl Machine {
    pub fn new(edge: &Edge, seed: u32) -> Machine {
        Machine::build(edge, seed).expect("the machine is built of parts that are there")
    }

    fn build(edge: &Edge, seed: u32) -> mlua::Result<Machine> {
        let options = LuaOptions::new().catch_rust_panics(true);
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, options)?;
        let context = Context::new(edge.clone(), seed);
        let registry = Registry::default();
        let raw = api::functions(&lua, &context)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude").set_mode(ChunkMode::Text);
        let (make_globals, make_library_globals, runner, settle_strings): (Function, Function, Function, Function) =
            prelude.call(raw)?;
        let extend_scripts = api::for_scripts(&lua)?;
        let extend_libraries = api::for_libraries(&lua, &registry)?;
        let (globals, script_env): (Table, Table) = make_globals.call(extend_scripts)?;
        let (library_env, switch_library): (Table, Function) = make_library_globals.call(extend_libraries)?;
        settle_strings.call::<()>(&script_env)?;
        // Whatever is compiled from now on finds nothing else, and nobody finds more by getfenv.
        lua.set_globals(script_env.clone())?;
        lua.gc_collect()?;
        Ok(Machine {
            lua,
            context,
            scripts: HashMap::new(),
            libraries: HashMap::new(),
            globals,
            script_env,
            library_env,
            switch_library,
            runner,
            registry,
            runs_count: 0,
        })
    }

    pub fn memory_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    pub fn run(&mut self, job: Job) -> Outcome {
        let outcome = match job {
            Job::Compile { digest, code } => self.compile(digest, &code),
            Job::Run { digest, keys, argv, version } => self.run_script(&digest, keys, argv, version),
            Job::Load { generation, code } => self.load(generation, &code),
            Job::Unload { generation } => {
                self.libraries.remove(&generation);
                Ok(Outcome::Done)
            }
            Job::Call { generation, function, keys, argv, version } => {
                self.call(generation, &function, keys, argv, version)
            }
        };
        // Out of memory, at most.
        outcome.unwrap_or_else(|error| Outcome::Failed(api::message(&error)))
    }

    fn compile(&mut self, digest: String, code: &[u8]) -> mlua::Result<Outcome> {
        match self.chunk(code, "@user_script", &self.script_env) {
            Ok(function) => {
                self.scripts.insert(digest, function);
                Ok(Outcome::Done)
            }
            Err(error) => Ok(Outcome::Failed(api::message(&error))),
        }
    }

    fn chunk(&self, code: &[u8], name: &str, env: &Table) -> mlua::Result<Function> {
        let function = self.lua.load(code).set_name(name).set_mode(ChunkMode::Text).into_function()?;
        function.set_environment(env.clone())?;
        Ok(function)
    }

    fn run_script(
        &mut self,
        digest: &str,
        keys: Vec<Vec<u8>>,
        argv: Vec<Vec<u8>>,
        version: RespVersion,
    ) -> mlua::Result<Outcome> {
        let Some(function) = self.scripts.get(digest).cloned() else {
            return Ok(Outcome::Failed(b"the script is not there".to_vec()));
        };
        self.globals.raw_set("KEYS", self.strings(keys)?)?;
        self.globals.raw_set("ARGV", self.strings(argv)?)?;
        self.watched(version, digest.as_bytes(), |runner| runner.call((function, Value::Nil, Value::Nil)))
    }

    fn call(
        &mut self,
        generation: u64,
        name: &[u8],
        keys: Vec<Vec<u8>>,
        argv: Vec<Vec<u8>>,
        version: RespVersion,
    ) -> mlua::Result<Outcome> {
        let Some(function) = self.libraries.get(&generation).and_then(|functions| functions.get(name)).cloned() else {
            return Ok(Outcome::Failed(b"the function is not there".to_vec()));
        };
        let (keys, argv) = (self.strings(keys)?, self.strings(argv)?);
        self.watched(version, name, |runner| runner.call((function, keys, argv)))
    }

    fn load(&mut self, generation: u64, code: &[u8]) -> mlua::Result<Outcome> {
        let function = match self.chunk(code, "@user_function", &self.library_env) {
            Ok(function) => function,
            Err(error) => {
                return Ok(Outcome::Failed([b"Error compiling function: ", &*api::message(&error)].concat()));
            }
        };
        self.registry.begin();
        self.context.begin_loading();
        self.switch_library.call::<()>(true)?;
        self.set_tick()?;
        let result: mlua::Result<(bool, Value)> = self.runner.call((function, Value::Nil, Value::Nil));
        self.lua.remove_global_hook();
        self.lua.remove_hook();
        self.context.end_loading();
        self.switch_library.call::<()>(false)?;
        let registered = self.registry.end();
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                let text = api::message(&error);
                return Ok(Outcome::Failed([b"Error registering functions: ERR ", &*text].concat()));
            }
        };
        match result {
            (true, _) if registered.is_empty() => Ok(Outcome::Failed(b"No functions registered".to_vec())),
            (true, _) => {
                let facts = registered.iter().map(|(facts, _)| facts.clone()).collect();
                let functions = registered.into_iter().map(|(facts, function)| (facts.name, function)).collect();
                self.libraries.insert(generation, functions);
                Ok(Outcome::Loaded(facts))
            }
            (false, problem) => {
                let (line, _) = api::error_line(&problem)?;
                Ok(Outcome::Failed([b"Error registering functions: ", &*line].concat()))
            }
        }
    }

    fn strings(&self, values: Vec<Vec<u8>>) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(values.len(), 0)?;
        for value in values {
            table.raw_push(self.lua.create_string(value)?)?;
        }
        Ok(table)
    }

    /// Every so many instructions whoever drives the engine may look at the clock. A script that is to end is told so before each of
    /// its lines, so that it cannot go on by catching the error.
    fn set_tick(&self) -> mlua::Result<()> {
        let edge = self.context.edge();
        let every = HookTriggers::new().every_nth_instruction(TICK_INSTRUCTIONS);
        self.lua.set_global_hook(every, move |lua, _| match edge.ask(Demand::Tick) {
            Supply::Kill(text) => {
                let error = move || mlua::Error::runtime(String::from_utf8_lossy(&text));
                let raised = error();
                let _ = lua.set_hook(HookTriggers::EVERY_LINE, move |_, frame| {
                    // Lines of ours must get through, so that it is said where the script was.
                    let is_ours = frame.source().source.is_some_and(|source| source == "=prelude");
                    if is_ours { Ok(VmState::Continue) } else { Err(error()) }
                });
                Err(raised)
            }
            _ => Ok(VmState::Continue),
        })
    }

    /// Calls the prelude's `run`, and makes a reply of what comes back.
    fn watched(
        &mut self,
        version: RespVersion,
        name: &[u8],
        call: impl FnOnce(&Function) -> mlua::Result<(bool, MultiValue)>,
    ) -> mlua::Result<Outcome> {
        self.context.begin_run();
        self.set_tick()?;
        let result = call(&self.runner);
        self.lua.remove_global_hook();
        self.lua.remove_hook();
        self.runs_count += 1;
        if self.runs_count.is_multiple_of(COLLECT_PERIOD) {
            self.lua.gc_step()?;
        }
        let (returned, values) = result?;
        let value = values.into_iter().next().unwrap_or(Value::Nil);
        let mut reply = ReplyBuffer::new();
        if returned {
            let written = values::write_reply(&value, self.context.version(), &mut Reply::new(&mut reply, version));
            written?;
            let failed = reply.slices(1).next().is_some_and(|bytes| bytes.first() == Some(&b'-'));
            let is_counted = failed && api::error_line(&value)?.1;
            return Ok(Outcome::Reply { reply, failed, is_counted });
        }
        let (mut line, is_counted) = api::error_line(&value)?;
        api::add_position(&mut line, &value, name)?;
        Ok(Outcome::Reply { reply: values::error_reply(&line), failed: true, is_counted })
    }
}
