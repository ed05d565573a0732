//! The command line, read.

use super::*;

fn read(line: &str) -> Result<Invocation, Failure> {
    let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
    parse(&words, Environment::default())
}

fn command(line: &str) -> Command {
    read(line).unwrap_or_else(|failure| panic!("{line}: {failure:?}")).command
}

fn node(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn options_stand_anywhere_and_in_their_long_and_short_forms() {
    for line in [
        "create a:1 b:2 c:3 d:4 e:5 f:6 --cluster-replicas 1 --cluster-yes",
        "--yes create a:1 b:2 --replicas 1 c:3 d:4 e:5 f:6",
    ] {
        let invocation = read(line).unwrap();
        assert!(invocation.settings.yes);
        let Command::Create { nodes, replicas: 1 } = invocation.command else { panic!() };
        assert_eq!((nodes.len(), &nodes[0]), (6, &node("a", 1)));
    }
}

#[test]
fn addresses_take_every_form_that_nodes_are_shown_in() {
    for (word, host) in [("h:7", "h"), ("10.0.0.1:7@17", "10.0.0.1"), ("[::1]:7", "::1"), ("::1:7", "::1")] {
        assert_eq!(command(&format!("info {word}")), Command::Info { node: node(host, 7) });
    }
    assert_eq!(command("info h 7"), Command::Info { node: node("h", 7) });
    for word in ["h", "h:", ":7", "h:0", "h:65536", "h:x", "h:-1"] {
        assert!(matches!(read(&format!("info {word}")), Err(Failure::Usage(_))), "{word}");
    }
}

#[test]
fn each_subcommand_is_built_from_its_words() {
    let replica = |id: Option<&str>| NewRole::Replica(id.map(str::to_owned));
    let add = |role| Command::AddNode { new: node("n", 1), existing: node("e", 2), role };
    let call = |line: &str, only| Command::Call { node: node("h", 7), words: words(line), only };
    let cases = [
        ("help", Command::Help),
        ("create --help", Command::Help),
        ("check h:7 --search-multiple-owners", Command::Check { node: node("h", 7), search_owners: true }),
        ("add-node n:1 e:2", add(NewRole::Primary)),
        ("add-node n:1 e:2 --cluster-slave", add(replica(None))),
        ("add-node n:1 e:2 --cluster-replica --cluster-master-id AB", add(replica(Some("ab")))),
        ("del-node h:7 ABC", Command::DelNode { node: node("h", 7), id: "abc".to_owned() }),
        ("call h:7 PING", call("PING", Only::All)),
        ("call h:7 SET a -1 --yes --cluster-only-masters", call("SET a -1 --yes", Only::Primaries)),
        ("call h:7 --only-replicas ECHO", call("ECHO", Only::Replicas)),
        ("call h:7 -- ECHO --cluster-yes -a", call("ECHO --cluster-yes -a", Only::All)),
        (
            "reshard h:7 --cluster-from A,b --cluster-to C --cluster-slots 7 --cluster-timeout 9 --replace",
            Command::Reshard {
                node: node("h", 7),
                wish: Wish {
                    from: Some(vec!["a".to_owned(), "b".to_owned()]),
                    to: Some("c".to_owned()),
                    slots: Some(7),
                },
                moving: Moving { timeout: Duration::from_millis(9), pipeline: 10, replace: true, key_by_key: false },
            },
        ),
        (
            "rebalance --cluster-weight a=1 B=2.5 h:7 --cluster-use-empty-masters --pipeline 50",
            Command::Rebalance {
                node: node("h", 7),
                balance: Balance {
                    weights: vec![("a".to_owned(), 1.0), ("b".to_owned(), 2.5)],
                    use_empty: true,
                    threshold_percent: 2.0,
                    simulate: false,
                },
                moving: Moving { timeout: Duration::from_secs(60), pipeline: 50, replace: false, key_by_key: false },
            },
        ),
        (
            "fix h:7 --cluster-search-multiple-owners",
            Command::Fix {
                node: node("h", 7),
                extent: Extent { search_owners: true, without_unreachable: false },
                moving: Moving { timeout: Duration::from_secs(60), pipeline: 10, replace: false, key_by_key: false },
            },
        ),
        ("set-timeout h:7 100", Command::SetTimeout { node: node("h", 7), timeout_ms: 100 }),
    ];
    for (line, expected) in cases {
        assert_eq!(command(line), expected, "{line}");
    }
}

#[test]
fn wrong_command_lines_say_what_is_wrong() {
    let cases = [
        ("", "no subcommand"),
        ("import h:7", "import is not available in this version"),
        ("reshard h:7 --slots 0", "--cluster-slots is a number from 1 to 16384"),
        ("reshard h:7 --weight a=1", "reshard does not take --cluster-weight"),
        ("rebalance h:7 --weight a=x", "a weight is a number from 0 on, not 'x'"),
        ("rebalance h:7 --weight a", "'a' is no weight"),
        ("check h:7 --cluster-pipeline 3", "check does not take --cluster-pipeline"),
        ("dance", "'dance' is no subcommand"),
        ("create", "expected: slotcore cluster create host1:port1"),
        ("create a:1 a:1 b:1", "a:1 is named twice"),
        ("create a:1 b:1", "at least 3 nodes, not 2"),
        ("create a:1 b:1 c:1 d:1 e:1 --replicas 1", "at least 6 nodes, not 5"),
        ("create a:1 b:1 c:1 --replicas", "--replicas needs a value"),
        ("create a:1 b:1 c:1 --replicas -1", "not '-1'"),
        ("create a:1 b:1 c:1 --only-masters", "create does not take --cluster-only-masters"),
        ("check h:7 --wait-long", "'--wait-long' is no option"),
        ("add-node n:1 e:2 --cluster-master-id ab", "add --cluster-replica"),
        ("call h:7", "expected: slotcore cluster call"),
        ("call h:7 PING --cluster-only-masters --cluster-only-replicas", "leave no node"),
        ("set-timeout h:7 99", "from 100 to"),
        ("info h:7 --user joe", "--user needs a password"),
    ];
    for (line, part) in cases {
        match read(line) {
            Err(Failure::Usage(said)) => assert!(said.contains(part) && !said.contains('\n'), "{line}: {said}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn the_environment_gives_what_the_command_line_leaves_out() {
    let environment = Environment { password: Some(b"secret".to_vec()), yes: true };
    let with = |line: &str| parse(&words(line), environment.clone()).unwrap().settings;
    assert_eq!(with("info h:7").credentials.password.as_deref(), Some(b"secret".as_slice()));
    assert!(with("info h:7").yes);
    let named = with("-a other --user joe info h:7").credentials;
    assert_eq!(named, Credentials { user: Some(b"joe".to_vec()), password: Some(b"other".to_vec()) });
    assert_eq!(read("info h:7").unwrap().settings.wait, Duration::from_secs(60));
}

#[test]
fn help_shows_every_subcommand_and_option_that_there_is() {
    let help = help();
    for subcommand in SUBCOMMANDS.iter().filter(|subcommand| subcommand.name != "help") {
        assert!(help.contains(&format!("\n  {} {}\n", subcommand.name, subcommand.arguments)), "{help}");
    }
    for spec in OPTIONS.iter().filter(|spec| !spec.meaning.is_empty()) {
        assert!(help.contains(spec.names[0]) && help.contains(spec.meaning), "{}", spec.names[0]);
        let users = SUBCOMMANDS.iter().filter(|subcommand| subcommand.options.contains(&spec.option)).count();
        assert!(users > 0 || EVERYWHERE.contains(&spec.option) || MOVING.contains(&spec.option));
    }
    assert!(NOT_AVAILABLE.iter().all(|name| !help.contains(name)));
}
