//! Scripts in cluster mode, where slots belong to cores and to nodes.

use std::time::Duration;

use crate::cluster_one_node::own_all_slots;
use crate::support::{Server, holds_within};

const CLUSTER: &[&str] = &["--cluster-enabled", "yes"];

#[test]
fn a_script_runs_where_its_keys_are() {
    let server = Server::slotcore(CLUSTER);
    let client = &mut server.connect();
    own_all_slots(client);
    for number in 0..100 {
        let key = format!("key:{number}");
        let set = ["EVAL", "return redis.call('set', KEYS[1], ARGV[1])", "1", &key, &number.to_string()];
        assert_eq!(client.cmd(&set).to_string(), "+OK");
        assert_eq!(client.line(&format!("GET {key}")).to_string(), format!("'{number}'"));
    }
    let crossing = client.cmd(&["EVAL", "return 1", "2", "a", "b"]).to_string();
    assert!(crossing.starts_with("-CROSSSLOT"), "{crossing}");
    let foreign = client.cmd(&["EVAL", "#!lua\nreturn redis.call('get', 'b')", "1", "a"]).to_string();
    let is_refused = foreign.contains("keys that do not hash to the same slot") || foreign.contains("non local key");
    assert!(is_refused, "{foreign}");
}

#[test]
fn what_one_core_has_learnt_every_core_knows() {
    let server = Server::slotcore(CLUSTER);
    let client = &mut server.connect();
    own_all_slots(client);
    let digest = client.cmd(&["SCRIPT", "LOAD", "return KEYS[1]"]).to_string();
    let digest = digest.trim_matches('\'').to_owned();
    for number in 0..100 {
        assert_eq!(client.line(&format!("EVALSHA {digest} 1 k{number}")).to_string(), format!("'k{number}'"));
    }
    // As clients do that try EVALSHA first.
    client.cmd(&["EVAL", "return {KEYS[1]}", "1", "k"]);
    let digest = "9df5a3d19d6c1ea0c4ea5c2e1ab0f4d6d8d5a5f3";
    assert!(client.line(&format!("EVALSHA {digest} 1 k")).to_string().starts_with("-NOSCRIPT"));
    let known = client.cmd(&["EVAL", "return redis.sha1hex('return {KEYS[1]}')", "0"]).to_string();
    let known = known.trim_matches('\'').to_owned();
    for number in 0..100 {
        let ask = format!("EVALSHA {known} 1 k{number}");
        assert!(holds_within(Duration::from_secs(20), || client.line(&ask).to_string() == format!("['k{number}']")));
    }
    assert_eq!(client.must(&format!("SCRIPT EXISTS {known}")).items()[0].integer(), 1);
    assert_eq!(client.info_number("number_of_cached_scripts"), 3);
}

#[test]
fn functions_are_on_every_core() {
    let server = Server::slotcore(CLUSTER);
    let client = &mut server.connect();
    own_all_slots(client);
    let code =
        "#!lua name=lib\nredis.register_function('touch', function(keys) return redis.call('incr', keys[1]) end)";
    assert_eq!(client.cmd(&["FUNCTION", "LOAD", code]).to_string(), "'lib'");
    for number in 0..100 {
        assert_eq!(client.line(&format!("FCALL touch 1 k{number}")).to_string(), ":1");
    }
    assert_eq!(client.info_number("number_of_functions"), 1);
    client.must("FUNCTION DELETE lib");
    for number in 0..100 {
        assert_eq!(client.line(&format!("FCALL touch 1 k{number}")).to_string(), "-ERR Function not found");
    }
}
