//! The commands of positions, as tables.

use crate::support::{check, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    for entries in ["128", "0"] {
        on_both_with(&["--zset-max-listpack-entries", entries], |server| check(&mut server.connect(), rows));
    }
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_A_FLOAT: &str = "-ERR value is not a valid float";
const BAD_UNIT: &str = "-ERR unsupported unit provided. please use M, KM, FT, MI";
const SYNTAX: &str = "-ERR syntax error";
const SICILY: &str = "GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania";

#[test]
fn positions_are_scores() {
    table(&[
        (SICILY, ":2"),
        ("ZRANGE s 0 -1 WITHSCORES", "['Palermo', '3479099956230698', 'Catania', '3479447370796909']"),
        ("GEOADD s CH 13.5 38 Palermo", ":1"),
        ("GEOADD s NX CH 13.6 38 Palermo", ":0"),
        ("GEOADD s XX 13.361389 38.115556 Palermo 1 2 new", ":0"),
        ("ZCARD s", ":2"),
        ("GEOPOS s Palermo nowhere", "[['13.36138933897018433', '38.11555639549629859'], nil*]"),
        ("GEOPOS s", "[]"),
        ("GEOPOS missing a b", "[nil*, nil*]"),
        ("GEOHASH s Palermo Catania nowhere", "['sqc8b49rny0', 'sqdtr74hyu0', nil]"),
        ("GEOHASH missing a", "[nil]"),
        ("GEOADD s 180 85.05112878 corner -180 -85.05112878 other", ":2"),
        ("GEOPOS s corner other", "?"),
        ("GEOADD s 181 0 x", "-ERR invalid longitude,latitude pair 181.000000,0.000000"),
        ("GEOADD s 0 inf x", "-ERR invalid longitude,latitude pair 0.000000,inf"),
        ("GEOADD s x 0 a", NOT_A_FLOAT),
        ("GEOADD s 1 2 a 3 4", SYNTAX),
        ("GEOADD s NX XX 1 2 a", SYNTAX),
        ("GEOADD s NX CH XX", SYNTAX),
        ("GEOADD fresh XX 1 2 a", ":0"),
        ("EXISTS fresh", ":0"),
    ]);
}

#[test]
fn distances_have_four_decimals_in_any_unit() {
    table(&[
        (SICILY, ":2"),
        ("GEODIST s Palermo Catania", "'166274.1516'"),
        ("GEODIST s Palermo Catania km", "'166.2742'"),
        ("GEODIST s Palermo Catania MI", "'103.3182'"),
        ("GEODIST s Palermo Catania ft", "'545518.8700'"),
        ("GEODIST s Palermo Palermo", "'0.0000'"),
        ("GEODIST s Palermo nowhere", "nil"),
        ("GEODIST missing a b", "nil"),
        ("GEODIST s Palermo Catania yd", BAD_UNIT),
        ("GEODIST s Palermo Catania km km", SYNTAX),
    ]);
}

#[test]
fn searches_find_what_is_within_a_shape() {
    table(&[
        (SICILY, ":2"),
        ("GEOADD s 12.758489 38.788135 edge1 17.241510 38.788135 edge2", ":2"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km ASC", "['Catania', 'Palermo']"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km DESC", "['Palermo', 'Catania']"),
        (
            "GEOSEARCH s FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHCOORD WITHDIST WITHHASH COUNT 1",
            "[['Catania', '56.4413', :3479447370796909, ['15.08726745843887329', '37.50266842333162032']]]",
        ),
        ("GEOSEARCH s FROMLONLAT 15 37 BYBOX 400 400 km ASC", "['Catania', 'Palermo', 'edge2', 'edge1']"),
        (
            "GEOSEARCH s FROMMEMBER Palermo BYRADIUS 100 mi WITHDIST ASC",
            "[['Palermo', '0.0000'], ['edge1', '56.7939']]",
        ),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1 ANY", "?"),
        ("GEOSEARCH s FROMLONLAT 100 80 BYRADIUS 1 m", "[]"),
        ("GEOSEARCH missing FROMMEMBER x BYRADIUS 1 m", "[]"),
        ("GEOSEARCH s FROMMEMBER x BYRADIUS 1 m", "-ERR could not decode requested zset member"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km ANY", "-ERR the ANY argument requires COUNT argument"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km COUNT 0", "-ERR COUNT must be > 0"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 yd", BAD_UNIT),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS x km", "-ERR need numeric radius"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS -1 km", "-ERR radius cannot be negative"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYBOX x 1 km", "-ERR need numeric width"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYBOX 1 x km", "-ERR need numeric height"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYBOX 1 -1 km", "-ERR height or width cannot be negative"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 1 km BYBOX 1 1 km", SYNTAX),
        ("GEOSEARCH s FROMLONLAT 15 37 FROMMEMBER Palermo BYBOX 1 1 km", SYNTAX),
        ("GEOSEARCH s BYRADIUS 200 km WITHDIST", "-ERR wrong number of arguments for 'geosearch' command"),
        (
            "geoSearch s BYRADIUS 200 km WITHDIST ASC",
            "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geoSearch",
        ),
        (
            "GEOSEARCH s FROMLONLAT 15 37 WITHDIST ASC",
            "-ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH",
        ),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km STORE d", SYNTAX),
        ("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST", SYNTAX),
    ]);
}

#[test]
fn searches_are_stored_as_positions_or_distances() {
    table(&[
        (SICILY, ":2"),
        ("GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km", ":2"),
        ("ZRANGE d 0 -1 WITHSCORES", "['Palermo', '3479099956230698', 'Catania', '3479447370796909']"),
        ("GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1 STOREDIST", ":1"),
        ("ZRANGE d 0 -1", "['Catania']"),
        ("GEORADIUS s 15 37 200 km STORE e", ":2"),
        ("ZCARD e", ":2"),
        ("GEORADIUS s 15 37 200 km STORE e STOREDIST f", ":2"),
        ("ZCOUNT f 0 200", ":2"),
        ("GEORADIUSBYMEMBER s Palermo 1 m STORE e", ":1"),
        ("ZRANGE e 0 -1", "['Palermo']"),
        ("GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 km", ":0"),
        ("EXISTS d", ":0"),
        ("GEORADIUS missing 15 37 200 km STORE e", ":0"),
        ("EXISTS e", ":0"),
        ("GEORADIUSBYMEMBER missing x y z STORE f", ":0"),
        ("EXISTS f", ":0"),
        (
            "GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km WITHDIST",
            "-ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        (
            "GEORADIUS s 15 37 200 km STORE e WITHHASH",
            "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
    ]);
}

#[test]
fn the_older_searches_give_the_same() {
    table(&[
        (SICILY, ":2"),
        ("GEORADIUS s 15 37 200 km WITHDIST ASC", "[['Catania', '56.4413'], ['Palermo', '190.4424']]"),
        ("GEORADIUS_RO s 15 37 200 km DESC COUNT 1", "['Palermo']"),
        ("GEORADIUS_RO s 15 37 200 km STORE d", SYNTAX),
        ("GEORADIUSBYMEMBER s Catania 200 km ASC", "['Catania', 'Palermo']"),
        ("GEORADIUSBYMEMBER_RO s Catania 200 km COUNT 5", "['Catania', 'Palermo']"),
        ("GEORADIUSBYMEMBER s nowhere 200 km", "-ERR could not decode requested zset member"),
        ("GEORADIUSBYMEMBER missing nowhere 200 km", "[]"),
        ("GEORADIUS s 15 37 200 km BYBOX 1 1 km", SYNTAX),
        ("GEORADIUS missing 15 x 200 km", NOT_A_FLOAT),
        ("GEORADIUS s 15 100 200 km", "-ERR invalid longitude,latitude pair 15.000000,100.000000"),
    ]);
}

#[test]
fn version_3_shows_coordinates_as_doubles_and_distances_as_text() {
    table(&[
        ("HELLO 3", "?"),
        (SICILY, ":2"),
        ("GEOPOS s Palermo x", "[[,13.36138933897018433, ,38.11555639549629859], null]"),
        ("GEODIST s Palermo Catania", "'166274.1516'"),
        (
            "GEOSEARCH s FROMMEMBER Catania BYRADIUS 1 m WITHDIST WITHCOORD",
            "[['Catania', '0.0000', [,15.08726745843887329, ,37.50266842333162032]]]",
        ),
    ]);
}

#[test]
fn other_types_are_refused() {
    on_both(|server| {
        let mut client = server.connect();
        client.must("SET s x");
        let lines = [
            "GEOADD s 1 2 a",
            "GEOPOS s a",
            "GEODIST s a b",
            "GEOHASH s a",
            "GEOSEARCH s FROMMEMBER x BYRADIUS x x",
            "GEOSEARCHSTORE d s FROMMEMBER x BYRADIUS x x",
            "GEORADIUS s 1 2 3 4",
            "GEORADIUSBYMEMBER s 1 2 3",
        ];
        let rows: Vec<(&str, &str)> = lines.iter().map(|line| (*line, WRONG_TYPE)).collect();
        check(&mut client, &rows);
    });
}
