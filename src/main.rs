//! Arguments, configuration, start.

use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use slotcore::admin;
use slotcore::config::{Applies, Arguments, Config, Environment, Sources, load};
use slotcore::runtime;

#[global_allocator]
static ALLOCATOR: runtime::allocator::CountingAllocator = runtime::allocator::CountingAllocator;

const USAGE: &str = "\
Usage: slotcore [/path/to/redis.conf] [options] [-]
       slotcore - (read config from stdin)
       slotcore -v or --version
       slotcore -h or --help
       slotcore check-aof [--fix] <manifest|file>
       slotcore cluster <subcommand> (form and administer a cluster; slotcore cluster help)
       slotcore announce [--once] [--ip <address>] [--socket <path>] (tells nodes in containers which ports lead to them)
       slotcore health [--live] [host:port] (is the node ready, or at least alive? exit code 0 if so)

Every directive of redis.conf can be given as an option: --port 7000 --cores 2 --save \"\"
and as an environment variable, which wins over the file: SLOTCORE_PORT=7000 SLOTCORE_CLUSTER_ENABLED=yes
SLOTCORE_PASSWORD_FILE names a file with the password (requirepass and masterauth).

Examples:
       slotcore                        (default configuration, port 6379)
       slotcore /etc/redis/7000.conf
       slotcore --port 7000 --cluster-enabled yes
       slotcore /etc/redis/7000.conf --loglevel verbose -
";

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    let arguments = without_redis_server(&arguments);
    match arguments.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => {
            println!("slotcore v={} redis_version=7.2.4 bits=64", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(b"-h" | b"--help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(b"check-aof") => return check_aof(&arguments[1..]),
        Some(b"health") => return ExitCode::from(admin::health(&arguments[1..])),
        Some(b"announce") => return ExitCode::from(admin::announce(&arguments[1..])),
        Some(b"cluster") => return ExitCode::from(admin::run(&arguments[1..])),
        _ => {}
    }
    let (config, file, warnings) = match read_configuration(arguments) {
        Ok(read) => read,
        Err(line) => return fail(&line),
    };
    if let Err(line) =
        std::env::set_current_dir(&config.dir).map_err(|e| format!("Can't chdir to '{}': {e}", config.dir))
    {
        return fail(&line);
    }
    if let Err(line) = runtime::log::open(&config) {
        return fail(&line);
    }
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    for (name, applies) in config.not_in_effect() {
        match applies {
            Applies::Now => {}
            Applies::Later(what) => tracing::warn!("'{name}' is accepted and not in effect yet: it waits for {what}"),
            Applies::Never(why) => tracing::info!("'{name}' is accepted and has no effect: {why}"),
        }
    }
    let discoverer = admin::Discoverer::new(&config);
    let companion = discoverer.map(|discoverer| Box::new(|| discoverer.run()) as runtime::Companion);
    match runtime::start(config, file, companion) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            tracing::error!("{line}");
            fail(&line)
        }
    }
}

/// Compose files for Redis's image name the program: `command: redis-server /etc/redis.conf`. They need not be changed for that.
fn without_redis_server(arguments: &[Vec<u8>]) -> &[Vec<u8>] {
    match arguments {
        [first, rest @ ..] if first == b"redis-server" => rest,
        _ => arguments,
    }
}

/// Are append-only files whole? With `--fix`, what is not whole at their end is cut off.
fn check_aof(arguments: &[Vec<u8>]) -> ExitCode {
    let (fix, path) = match arguments {
        [flag, path] if flag == b"--fix" => (true, path),
        [path] if !path.starts_with(b"-") => (false, path),
        _ => return fail("Usage: slotcore check-aof [--fix] <manifest|file>"),
    };
    let path = std::ffi::OsStr::from_bytes(path);
    match runtime::check_aof::check(path.as_ref(), fix, &mut |line| println!("{line}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => fail(&line),
    }
}

fn fail(line: &str) -> ExitCode {
    runtime::log::complain(line);
    ExitCode::FAILURE
}

/// The configuration, the absolute path of its file, and what the log should say.
fn read_configuration(arguments: &[Vec<u8>]) -> Result<(Config, String, Vec<String>), String> {
    let arguments = Arguments::parse(arguments);
    let mut stdin = Vec::new();
    if arguments.stdin {
        std::io::stdin().read_to_end(&mut stdin).map_err(|error| format!("Can't read standard input: {error}"))?;
    }
    let variables = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    let environment = Environment::read(variables)?;
    let sources = Sources {
        file: arguments.file.as_deref(),
        stdin: arguments.stdin.then_some(stdin.as_slice()),
        environment: &environment.lines,
        options: &arguments.options,
    };
    let loaded = load(sources).map_err(|error| error.to_string())?;
    let file = arguments.file.as_deref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let file = file.map_or_else(String::new, |path| path.display().to_string());
    let warnings = environment.warnings.into_iter().chain(loaded.warnings).collect();
    Ok((loaded.config, file, warnings))
}

#[cfg(test)]
mod tests {
    use super::without_redis_server;

    #[test]
    fn the_command_of_an_image_of_redis_is_passed_over() {
        let words = |line: &str| line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        for (line, rest) in [
            ("redis-server /etc/redis.conf --port 1", "/etc/redis.conf --port 1"),
            ("redis-server", ""),
            ("/etc/redis.conf redis-server", "/etc/redis.conf redis-server"),
            ("", ""),
        ] {
            assert_eq!(without_redis_server(&words(line)), words(rest));
        }
    }
}
