//! Requests about positions, and the coordinates and lengths that they are given.

use super::generate::Compare::Exact;
use super::generate::Row;
use crate::support::random::Random;

/// The order of members at the same place is Redis's own affair when some are cut off: few are, and few coincide.
pub const ROWS: &[Row] = &[
    (12, "GEOADD <geo> <position> <member> <position> <member> <position> <member>", Exact),
    (5, "GEOADD <geo> [NX|XX|CH] <position> <member>", Exact),
    (2, "ZREM <geo> <member>+", Exact),
    (3, "GEOPOS <geo> <member>+", Exact),
    (3, "GEOHASH <geo> <member>+", Exact),
    (5, "GEODIST <geo> <member> <member> [m|km|ft|mi|yd]", Exact),
    (
        6,
        "GEOSEARCH <geo> FROMLONLAT <position> BYRADIUS <length> {m|km|ft|mi} {ASC|DESC} [WITHDIST|WITHCOORD|WITHHASH|COUNT 100000]",
        Exact,
    ),
    (
        6,
        "GEOSEARCH <geo> FROMLONLAT <position> BYBOX <length> <length> {m|km|ft|mi} {ASC|DESC} [WITHDIST|WITHCOORD|WITHHASH]",
        Exact,
    ),
    (
        4,
        "GEOSEARCH <geo> FROMMEMBER <member> BYBOX <length> <length> {m|km|ft|mi|x} [WITHDIST|WITHCOORD|<word>]",
        Exact,
    ),
    (3, "GEOSEARCH <geo> FROMMEMBER <member> BYRADIUS <length> km COUNT {1|2|0|x} ANY", Exact),
    (4, "GEOSEARCHSTORE <geo> <geo> FROMLONLAT <position> BYRADIUS <length> km [STOREDIST|ASC|WITHDIST]", Exact),
    (4, "{GEORADIUS|GEORADIUS_RO} <geo> <position> <length> {m|km} {ASC|DESC} [WITHDIST|WITHCOORD|WITHHASH]", Exact),
    (2, "GEORADIUS <geo> <position> <length> {m|km} [ASC|DESC] {STORE|STOREDIST} <geo>", Exact),
    (3, "{GEORADIUSBYMEMBER|GEORADIUSBYMEMBER_RO} <geo> <member> <length> km [WITHDIST|WITHCOORD|STORE <geo>]", Exact),
    (1, "ZADD <geo> <score> <member>", Exact),
    (3, "ZRANGE <geo> 0 -1 WITHSCORES", Exact),
    (1, "DEL <geo>", Exact),
];

/// A longitude and a latitude: everywhere, or near each other.
pub fn position(random: &mut Random) -> [Vec<u8>; 2] {
    let mut degrees = |from: i64, to: i64| {
        let micro = 1_000_000;
        let number = from * micro + random.below(((to - from) * micro).cast_unsigned()).cast_signed();
        let sign = if number < 0 { "-" } else { "" };
        format!("{sign}{}.{:06}", number.abs() / micro, number.abs() % micro).into_bytes()
    };
    let everywhere = [degrees(-180, 180), degrees(-85, 85)];
    let near = [degrees(10, 14), degrees(40, 43)];
    match random.below(20) {
        0 => {
            let edges = ["180 0", "-180 85.05112878", "0 0", "181 0", "x 1", "1 nan", "1 90"];
            let (longitude, latitude) = random.pick(&edges).split_once(' ').expect("two numbers");
            [longitude, latitude].map(|text| text.as_bytes().to_vec())
        }
        1..8 => everywhere,
        _ => near,
    }
}

pub fn length(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => random.pick(&["0", "-1", "x", "1e9", "inf", "0.001"]).as_bytes().to_vec(),
        1..4 => random.below(30_000).to_string().into_bytes(),
        _ => format!("{}.{}", random.below(500), random.below(100)).into_bytes(),
    }
}
