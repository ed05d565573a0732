//! Packets there and back, byte by byte, damaged in every way, and as Redis 7.0 sends them.

use proptest::prelude::*;

use super::layout::{EXTENSION_BYTES_MAX, EXTENSION_HEADER_BYTES, PACKET_BYTES_MAX};
use super::*;
use crate::base::hex::HEX_ID_LEN;
use crate::base::slot::{SLOT_BITMAP_BYTES, SLOTS_COUNT, Slot};
use crate::cluster::core_ports::MOVED_TOLD_MAX;

fn id(byte: u8) -> HexId {
    HexId::parse(&[byte; HEX_ID_LEN]).unwrap()
}

fn slots(numbers: &[u16]) -> Box<SlotSet> {
    Box::new(numbers.iter().copied().map(Slot::new).collect())
}

fn header() -> Header {
    Header {
        sender: id(b'a'),
        port: 0x1b58,
        other_port: 0x0102,
        bus_port: 0x4268,
        ip: "10.0.0.1".to_owned(),
        flags: NodeFlags::PRIMARY.and(NodeFlags::NO_FAILOVER),
        current_epoch: Epoch(0x0102_0304_0506_0708),
        config_epoch: Epoch(3),
        slots: slots(&[0, 9, 16383]),
        primary: None,
        offset: 0xff,
        is_ok: true,
        is_paused: false,
        is_ordered: false,
        is_kin: false,
    }
}

fn gossip() -> Gossip {
    let node = GossipNode {
        id: id(b'b'),
        ping_sent_s: 1,
        pong_received_s: 0x0102_0304,
        ip: "::1".to_owned(),
        port: 7000,
        other_port: 7443,
        bus_port: 17000,
        flags: NodeFlags::REPLICA.and(NodeFlags::PFAIL),
    };
    let extensions = Extensions {
        are_known: true,
        hostname: "host.b".to_owned(),
        human_name: "größe".to_owned(),
        forgotten: vec![(id(b'c'), 60), (id(b'd'), 1)],
        shard: Some(id(b'e')),
        core_ports: None,
    };
    Gossip { nodes: vec![node.clone(), GossipNode { ip: String::new(), ..node }], extensions }
}

/// One of every kind.
fn bodies() -> Vec<Body> {
    let (channel, message) = (Bytes::from_static(b"news"), Bytes::from_static(b"\0\xff!"));
    vec![
        Body::Ping(gossip()),
        Body::Pong(Gossip::default()),
        Body::Meet(Gossip { extensions: Extensions::default(), ..gossip() }),
        Body::Fail(id(b'f')),
        Body::Publish { channel: channel.clone(), message: message.clone() },
        Body::VoteRequest,
        Body::Vote,
        Body::Update { node: id(b'f'), config_epoch: Epoch(9), slots: slots(&[1]) },
        Body::ManualFailoverStart,
        Body::Module,
        Body::PublishShard { channel, message },
        Body::Unknown(11),
    ]
}

fn packet(body: Body) -> Vec<u8> {
    Message { header: header(), body }.encode().to_vec()
}

/// The packet with another length in its header.
fn sized(mut packet: Vec<u8>) -> Vec<u8> {
    let total = u32::try_from(packet.len()).unwrap();
    packet[4..8].copy_from_slice(&total.to_be_bytes());
    packet
}

/// The packet with these bytes written over it.
fn patched(packet: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

/// What is read means the same when it is written again.
fn assert_stable(packet: &[u8]) {
    if let Ok(message) = decode(packet) {
        assert_eq!(decode(&message.encode()), Ok(message));
    }
}

// ---- layout ----------------------------------------------------------------------------------------------------

#[test]
fn kinds_are_numbered_as_on_the_bus() {
    for (number, (kind, body)) in Kind::ALL.into_iter().zip(bodies()).enumerate() {
        assert_eq!((kind as usize, body.kind()), (number, Some(kind)));
        assert_eq!(packet(body)[12..14], [0, number as u8]);
    }
    assert_eq!(bodies().len(), KINDS_COUNT + 1);
}

#[test]
fn the_header_has_the_layout_of_the_bus() {
    let packet = packet(Body::Vote);
    assert_eq!(packet.len(), 2256);
    assert_eq!(packet[..16], *b"RCmb\0\0\x08\xd0\0\x01\x1b\x58\0\x06\0\0");
    assert_eq!(packet[16..24], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(packet[24..40], *b"\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\xff");
    assert_eq!(packet[40..80], [b'a'; 40]);
    assert_eq!((packet[80], packet[81], packet[82], packet[2127]), (1, 2, 0, 128));
    assert_eq!(packet[2128..2168], [0; 40]);
    assert_eq!(
        packet[2168..2214],
        *b"10.0.0.1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    assert_eq!(packet[2214..2246], [0; 32]);
    assert_eq!(packet[2246..2256], [1, 2, 0x42, 0x68, 2, 1, 0, 0, 0, 0]);
    let header =
        Header { primary: Some(id(b'p')), is_ok: false, is_paused: true, is_ordered: true, is_kin: true, ..header() };
    let other = Message { header, body: Body::Vote }.encode();
    assert_eq!(other[2128..2168], [b'p'; 40]);
    assert_eq!(other[2216..2246], *b"slotcore\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(other[2252..], [1, 3, 0, 0]);
    assert_eq!((&other[..2128], &other[2168..2216]), (&packet[..2128], &packet[2168..2216]));
}

#[test]
fn the_gossip_section_has_the_layout_of_the_bus() {
    let packet = packet(Body::Ping(gossip()));
    assert_eq!((&packet[14..16], &packet[2214..2216], packet[2253]), (&[0, 2][..], &[0, 5][..], 4));
    let node = &packet[2256..2360];
    assert_eq!(node[..40], [b'b'; 40]);
    assert_eq!(node[40..52], [0, 0, 0, 1, 1, 2, 3, 4, b':', b':', b'1', 0]);
    assert_eq!(node[52..94], [0; 42]);
    assert_eq!(node[94..], [0x1b, 0x58, 0x42, 0x68, 0, 6, 0x1d, 0x13, 0, 0]);
    let extensions = [
        &b"\0\0\0\x10\0\0\0\0host.b\0\0"[..],
        b"\0\0\0\x10\0\x01\0\0gr\xc3\xb6\xc3\x9fe\0",
        b"\0\0\0\x38\0\x02\0\0cccccccccccccccccccccccccccccccccccccccc\0\0\0\0\0\0\0\x3c",
        b"\0\0\0\x38\0\x02\0\0dddddddddddddddddddddddddddddddddddddddd\0\0\0\0\0\0\0\x01",
        b"\0\0\0\x30\0\x03\0\0eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
    ];
    assert_eq!(packet[2464..], extensions.concat());
}

#[test]
fn core_ports_have_the_layout_of_the_bus() {
    let mut ports = CorePorts::checked(7100, 3).unwrap();
    assert!(ports.note_moved(Slot::new(258), 1) && ports.note_moved(Slot::new(16383), 2));
    let extensions = Extensions { are_known: true, core_ports: Some(ports), ..Extensions::default() };
    let body = Body::Ping(Gossip { nodes: Vec::new(), extensions });
    let packet = packet(body.clone());
    assert_eq!(packet[2256..], *b"\0\0\0\x18\x53\x43\0\0\x1b\xbc\0\x03\0\x02\x01\x02\0\x01\x3f\xff\0\x02\0\0");
    assert_eq!(decode(&packet).unwrap().body, body);
}

#[test]
fn a_peer_is_told_of_no_more_slots_than_it_takes() {
    let mut ports = CorePorts::checked(7100, 2).unwrap();
    assert!(Slot::all().all(|slot| ports.note_moved(slot, 1)));
    let extensions = Extensions { are_known: true, core_ports: Some(ports), ..Extensions::default() };
    let read = decode(&packet(Body::Ping(Gossip { nodes: Vec::new(), extensions }))).unwrap();
    let Body::Ping(Gossip { extensions: Extensions { core_ports: Some(read), .. }, .. }) = read.body else { panic!() };
    assert_eq!((read.base(), read.moved().len()), (7100, MOVED_TOLD_MAX));
}

#[test]
fn core_ports_that_cannot_be_are_refused() {
    let read = |body: &[u8; 16]| {
        let packet = extended(1, &[&[0, 0, 0, 24, 0x53, 0x43, 0, 0][..], body].concat());
        decode(&packet).map(|_| ())
    };
    assert_eq!(read(&[0x1b, 0xbc, 0, 2, 0, 1, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0]), Ok(()));
    for (what, body, damage) in [
        ("no port", [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Damage::Extension),
        ("ports beyond the last", [255, 255, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Damage::Extension),
        ("no core", [0x1b, 0xbc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Damage::Extension),
        ("more cores than there can be", [0x1b, 0xbc, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Damage::Extension),
        ("a slot on no core", [0x1b, 0xbc, 0, 2, 0, 1, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0], Damage::Extension),
        ("no slot", [0x1b, 0xbc, 0, 2, 0, 1, 0x40, 0, 0, 1, 0, 0, 0, 0, 0, 0], Damage::Extension),
        ("more slots than are told", [0x1b, 0xbc, 0, 2, 8, 1, 0, 5, 0, 1, 0, 6, 0, 1, 0, 7], Damage::Extension),
        ("fewer slots than it says", [0x1b, 0xbc, 0, 2, 0, 9, 0, 5, 0, 1, 0, 6, 0, 1, 0, 7], Damage::Size),
    ] {
        assert_eq!(read(&body), Err(damage), "{what}");
    }
}

#[test]
fn other_bodies_have_the_layout_of_the_bus() {
    let body = |index: usize| packet(bodies().remove(index)).split_off(HEADER_BYTES);
    assert_eq!(body(3), [b'f'; 40]);
    assert_eq!(body(4), b"\0\0\0\x04\0\0\0\x03news\0\xff!");
    assert_eq!(body(10), body(4));
    let update = [&[0, 0, 0, 0, 0, 0, 0, 9][..], &[b'f'; 40], &[2], &[0; SLOT_BITMAP_BYTES - 1]].concat();
    assert_eq!(body(7), update);
    assert_eq!(body(9), [0; 13]);
    for empty in [1, 5, 6, 8, 11] {
        assert!(body(empty).is_empty());
    }
}

#[test]
fn extensions_are_sent_only_by_who_knows_them() {
    let extensions = Extensions { are_known: false, ..gossip().extensions };
    let silent = packet(Body::Ping(Gossip { nodes: Vec::new(), extensions }));
    assert_eq!(silent, packet(Body::Ping(Gossip::default())));
    let extensions = Extensions { are_known: true, ..Extensions::default() };
    let without_any = packet(Body::Ping(Gossip { nodes: Vec::new(), extensions }));
    assert_eq!(without_any, patched(&silent, 2253, &[4]));
}

#[test]
fn texts_that_are_too_long_are_cut_at_a_character() {
    let name_bytes = EXTENSION_BYTES_MAX - EXTENSION_HEADER_BYTES - 1;
    let mut message = Message { header: header(), body: Body::Ping(gossip()) };
    message.header.ip = "1".repeat(46);
    let Body::Ping(gossip) = &mut message.body else { unreachable!() };
    gossip.nodes[0].ip = "2".repeat(1000);
    gossip.extensions.hostname = "h".repeat(name_bytes + 1);
    gossip.extensions.human_name = format!("{}€", "x".repeat(name_bytes - 1));
    let decoded = decode(&message.encode()).unwrap();
    assert_eq!(decoded.header.ip, "1".repeat(45));
    let Body::Ping(gossip) = decoded.body else { unreachable!() };
    assert_eq!(gossip.nodes[0].ip, "2".repeat(45));
    assert_eq!(gossip.extensions.hostname, "h".repeat(name_bytes));
    assert_eq!(gossip.extensions.human_name, "x".repeat(name_bytes - 1));
}

// ---- damage ----------------------------------------------------------------------------------------------------

#[test]
fn the_length_is_known_after_eight_bytes() {
    assert_eq!(packet_len(b""), Ok(None));
    assert_eq!(packet_len(b"RCmb\0\0\x08"), Ok(None));
    assert_eq!(packet_len(b"RCmb\0\0\x08\xd0"), Ok(Some(HEADER_BYTES)));
    assert_eq!(packet_len(b"RCmb\0\0\x08\xd1more"), Ok(Some(HEADER_BYTES + 1)));
    assert_eq!(packet_len(b"RCmb\x40\0\0\0"), Ok(Some(PACKET_BYTES_MAX)));
    for bad in [&b"RCmb\0\0\x08\xcf"[..], b"RCmb\0\0\0\0", b"RCmb\x40\0\0\x01", b"RCmb\xff\xff\xff\xff"] {
        assert_eq!(packet_len(bad), Err(Damage::Length));
    }
    for bad in [&b"r"[..], b"RCm\0", b"PING\r\n", b"RCmB\0\0\x08\xd0"] {
        assert_eq!(packet_len(bad), Err(Damage::Signature));
    }
}

#[test]
fn a_packet_that_was_cut_or_continued_is_refused() {
    for body in bodies() {
        let packet = packet(body.clone());
        for len in 0..packet.len() {
            let cut = &packet[..len];
            assert_eq!(packet_len(cut), Ok((len >= 8).then_some(packet.len())));
            assert_eq!(decode(cut), Err(Damage::Size));
            let short = if len < 8 { continue } else { sized(cut.to_vec()) };
            match body {
                _ if len < HEADER_BYTES => assert_eq!(decode(&short), Err(Damage::Length)),
                _ => assert_eq!(decode(&short), Err(Damage::Size), "{len} bytes of {body:?}"),
            }
        }
        let longer = [&packet[..], b"\0\0\0\0\0\0\0\0"].concat();
        assert_eq!(decode(&longer), Err(Damage::Size));
        let is_unknown = body.kind().is_none();
        assert_eq!(decode(&sized(longer)).is_ok(), is_unknown, "{body:?}");
    }
}

#[test]
fn a_flipped_byte_is_refused_or_means_something_else() {
    for body in bodies() {
        let mut packet = packet(body);
        for at in 0..packet.len() {
            for mask in [0x01, 0x08, 0x80, 0xff] {
                packet[at] ^= mask;
                assert_stable(&packet);
                packet[at] ^= mask;
            }
        }
    }
}

#[test]
fn damage_to_the_header_is_told() {
    let vote = packet(Body::Vote);
    for (at, bytes, damage) in [
        (0, &b"X"[..], Damage::Signature),
        (8, b"\0\0", Damage::Version),
        (8, b"\0\x02", Damage::Version),
        (40, b"A", Damage::Sender),
        (40, b"\0", Damage::Sender),
        (40, &[0; 40], Damage::Sender),
        (2128, b"x", Damage::Sender),
        (2128, &[b' '; 40], Damage::Sender),
        (2168, b"1 2", Damage::Address),
        (2168, b"1\n2", Damage::Address),
        (2168, b"1\x7f2", Damage::Address),
        (2168, b"1,2", Damage::Address),
        (2168, b"\"", Damage::Address),
        (2168, "ß".as_bytes(), Damage::Address),
        (2168, &[b'1'; 46], Damage::Address),
    ] {
        assert_eq!(decode(&patched(&vote, at, bytes)), Err(damage), "{} at {at}", bytes.escape_ascii());
    }
    // What only pings have, and states and flags of later versions, are passed over.
    for (at, bytes) in
        [(14, &b"\xff\xff"[..]), (2214, b"\0\x01"), (2224, b"x"), (2252, b"\x07"), (2253, b"\xf8\xff\xff")]
    {
        assert!(decode(&patched(&vote, at, bytes)).is_ok(), "{} at {at}", bytes.escape_ascii());
    }
}

#[test]
fn damage_to_a_body_is_told() {
    let [ping, _, _, fail, publish, _, _, update, _, module, ..] =
        &bodies().into_iter().map(packet).collect::<Vec<_>>()[..]
    else {
        unreachable!()
    };
    for (packet, at, bytes, damage) in [
        (ping, 14, &b"\0\x01"[..], Damage::Extension),
        (ping, 14, b"\xff\xff", Damage::Size),
        (ping, 2214, b"\0\x04", Damage::Size),
        (ping, 2214, b"\0\x06", Damage::Size),
        (ping, 2214, b"\xff\xff", Damage::Size),
        (ping, 2253, b"\0", Damage::Extension),
        (ping, 2256, b"\0", Damage::Id),
        (ping, 2304, b"\x1b", Damage::Address),
        (ping, 2360, b"?", Damage::Id),
        (fail, 2256, b"\0", Damage::Id),
        (publish, 2256, b"\0\0\0\x05", Damage::Size),
        (publish, 2256, b"\0\0\0\x03", Damage::Size),
        (publish, 2256, b"\xff\xff\xff\xff\xff\xff\xff\xff", Damage::Size),
        // In 32 bits their sum wraps round to the right one.
        (publish, 2256, b"\0\0\0\x08\xff\xff\xff\xff", Damage::Size),
        (update, 2264, b"F", Damage::Id),
        (module, 2264, b"\0\0\0\x01", Damage::Size),
        (module, 2264, b"\xff\xff\xff\xff", Damage::Size),
    ] {
        assert_eq!(decode(&patched(packet, at, bytes)), Err(damage), "{} at {at}", bytes.escape_ascii());
    }
    let with_data = sized([&module[..], b"data"].concat());
    let message = decode(&patched(&with_data, 2264, b"\0\0\0\x04")).unwrap();
    assert_eq!(message.body, Body::Module);
}

/// A ping without a gossip section and with these bytes as its extensions.
fn extended(count: u16, extensions: &[u8]) -> Vec<u8> {
    let known = Extensions { are_known: true, ..Extensions::default() };
    let ping = packet(Body::Ping(Gossip { nodes: Vec::new(), extensions: known }));
    sized(patched(&[&ping[..], extensions].concat(), 2214, &count.to_be_bytes()))
}

#[test]
fn damage_to_extensions_is_told() {
    for (extension, damage) in [
        (&b"\0\0\0\x0c\0\x09\0\0abcd"[..], Damage::Extension),
        (b"\0\0\0\0\0\x09\0\0", Damage::Extension),
        (b"\0\x01\0\0\0\x09\0\0", Damage::Extension),
        (b"\xff\xff\xff\xf8\0\x09\0\0", Damage::Extension),
        (b"\0\0\0\x10\0\x09\0\0", Damage::Size),
        (b"\0\0\0\x10", Damage::Size),
        (b"\0\0\0\x08\0\0\0\0", Damage::Name),
        (b"\0\0\0\x10\0\0\0\0no end..", Damage::Name),
        (b"\0\0\0\x10\0\x02\0\0aaaaaaaa", Damage::Size),
        (b"\0\0\0\x30\0\x02\0\0cccccccccccccccccccccccccccccccccccccccc", Damage::Size),
        (b"\0\0\0\x10\0\x03\0\0aaaaaaaa", Damage::Size),
        (b"\0\0\0\x30\0\x03\0\0eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeE", Damage::Id),
    ] {
        assert_eq!(decode(&extended(1, extension)), Err(damage), "{}", extension.escape_ascii());
    }
    // Every one takes at least its header, so no count makes this long.
    assert_eq!(decode(&extended(u16::MAX, b"\0\0\0\x08\0\x09\0\0")), Err(Damage::Size));
}

/// Redis lets a node announce some of these, and its pings must go on to be heard.
#[test]
fn names_that_nodes_conf_cannot_have_are_as_good_as_none() {
    for extension in [
        &b"\0\0\0\x10\0\0\0\0a b\0\0\0\0\0"[..],
        b"\0\0\0\x10\0\0\0\0a,b\0\0\0\0\0",
        b"\0\0\0\x10\0\x01\0\0a\"b\0\0\0\0\0",
        b"\0\0\0\x10\0\x01\0\0a'b\0\0\0\0\0",
        b"\0\0\0\x10\0\x01\0\0a\nb\0\0\0\0\0",
        b"\0\0\0\x10\0\x01\0\0a\xc2\x85b\0\0\0\0",
        b"\0\0\0\x10\0\x01\0\0a\xe2\x80\xa8b\0\0\0",
        b"\0\0\0\x10\0\x01\0\0a\xffb\0\0\0\0\0",
    ] {
        let message = decode(&extended(1, extension)).unwrap();
        let Body::Ping(gossip) = message.body else { unreachable!() };
        assert_eq!(gossip.extensions, Extensions { are_known: true, ..Extensions::default() });
    }
}

#[test]
fn unknown_extensions_are_passed_over() {
    let extensions = b"\0\0\0\x08\0\x04\0\0\0\0\0\x10\0\0\0\0b\0ignore\0\0\0\x10\xff\xff\0\0????????";
    let message = decode(&extended(3, extensions)).unwrap();
    let Body::Ping(gossip) = message.body else { unreachable!() };
    let expected = Extensions { are_known: true, hostname: "b".to_owned(), ..Extensions::default() };
    assert_eq!(gossip.extensions, expected);
}

#[test]
fn damage_is_one_short_line_in_the_log() {
    for damage in [
        Damage::Signature,
        Damage::Length,
        Damage::Version,
        Damage::Size,
        Damage::Sender,
        Damage::Id,
        Damage::Address,
        Damage::Name,
        Damage::Extension,
    ] {
        let line = damage.to_string();
        assert!(!line.is_empty() && line.len() < 80 && !line.contains('\n'), "{line}");
    }
}

// ---- there and back --------------------------------------------------------------------------------------------

prop_compose! {
    fn any_id()(text in "[0-9a-z]{40}") -> HexId {
        HexId::parse(text.as_bytes()).unwrap()
    }
}

fn any_ip() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[0-9a-fA-F.:%@\\[\\]-]{1,45}"]
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[0-9a-zA-Z.=/€ß-]{1,80}"]
}

fn any_slots() -> impl Strategy<Value = Box<SlotSet>> {
    proptest::collection::vec(0..SLOTS_COUNT as u16, 0..40).prop_map(|numbers| slots(&numbers))
}

prop_compose! {
    fn any_header()(
        (sender, primary, ip, slots) in (any_id(), proptest::option::of(any_id()), any_ip(), any_slots()),
        (port, other_port, bus_port, flags) in any::<(u16, u16, u16, u16)>(),
        (current_epoch, config_epoch, offset) in any::<(u64, u64, u64)>(),
        (is_ok, is_paused, is_ordered, is_kin) in any::<(bool, bool, bool, bool)>(),
    ) -> Header {
        Header {
            sender, port, other_port, bus_port, ip, slots, primary, offset, is_ok, is_paused, is_ordered, is_kin,
            flags: NodeFlags(flags),
            current_epoch: Epoch(current_epoch),
            config_epoch: Epoch(config_epoch),
        }
    }
}

prop_compose! {
    fn any_node()(
        (id, ip) in (any_id(), any_ip()),
        (ping_sent_s, pong_received_s) in any::<(u32, u32)>(),
        (port, other_port, bus_port, flags) in any::<(u16, u16, u16, u16)>(),
    ) -> GossipNode {
        GossipNode { id, ping_sent_s, pong_received_s, ip, port, other_port, bus_port, flags: NodeFlags(flags) }
    }
}

fn any_extensions() -> impl Strategy<Value = Extensions> {
    let forgotten = proptest::collection::vec((any_id(), any::<u64>()), 0..4);
    let moved = proptest::collection::vec((0u16..16384, 0usize..2), 0..4);
    let core_ports = (1u16..65535, moved).prop_map(|(base, moved)| {
        let mut ports = CorePorts::checked(base, 2).unwrap();
        moved.into_iter().for_each(|(slot, core)| assert!(ports.note_moved(Slot::new(slot), core)));
        ports
    });
    let ids = (proptest::option::of(any_id()), proptest::option::of(core_ports));
    let known =
        (any_name(), any_name(), forgotten, ids).prop_map(|(hostname, human_name, forgotten, (shard, core_ports))| {
            Extensions { are_known: true, hostname, human_name, forgotten, shard, core_ports }
        });
    prop_oneof![1 => Just(Extensions::default()), 3 => known]
}

prop_compose! {
    fn any_gossip()(nodes in proptest::collection::vec(any_node(), 0..5), extensions in any_extensions()) -> Gossip {
        Gossip { nodes, extensions }
    }
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        any_gossip().prop_map(Body::Ping),
        any_gossip().prop_map(Body::Pong),
        any_gossip().prop_map(Body::Meet),
        any_id().prop_map(Body::Fail),
        (any_bytes(), any_bytes()).prop_map(|(channel, message)| Body::Publish { channel, message }),
        (any_bytes(), any_bytes()).prop_map(|(channel, message)| Body::PublishShard { channel, message }),
        Just(Body::VoteRequest),
        Just(Body::Vote),
        (any_id(), any::<u64>(), any_slots()).prop_map(|(node, epoch, slots)| Body::Update {
            node,
            config_epoch: Epoch(epoch),
            slots
        }),
        Just(Body::ManualFailoverStart),
        Just(Body::Module),
        (KINDS_COUNT as u16..).prop_map(Body::Unknown),
    ]
}

proptest! {
    #[test]
    fn every_message_is_read_back(header in any_header(), body in any_body()) {
        let message = Message { header, body };
        let packet = message.encode();
        prop_assert_eq!(packet_len(&packet), Ok(Some(packet.len())));
        prop_assert_eq!(decode(&packet), Ok(message));
    }

    #[test]
    fn overwritten_bytes_are_refused_or_mean_something_else(
        body in any_body(),
        writes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut packet = packet(body);
        for (at, byte) in writes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        assert_stable(&packet);
    }
}

// ---- packets of Redis ------------------------------------------------------------------------------------------

/// What nodes of Redis 7.0.15 sent to a node of ours that had met them. Theirs and ours are the same to the last byte.
fn captured(packet: &[u8]) -> Message {
    assert_eq!(packet_len(packet), Ok(Some(packet.len())));
    let message = decode(packet).unwrap();
    assert!(message.encode() == packet, "{message:?}");
    message
}

/// Flag of Redis that has no name here: the primary may be given replicas.
const MAY_HAVE_REPLICAS: NodeFlags = NodeFlags(256);

fn id_of(text: &str) -> HexId {
    HexId::parse(text.as_bytes()).unwrap()
}

fn range(first: u16, last: u16) -> Box<SlotSet> {
    slots(&(first..=last).collect::<Vec<_>>())
}

#[test]
fn a_pong_of_redis_is_read() {
    let Message { header, body } = captured(include_bytes!("captured/pong"));
    let expected = Header {
        sender: id_of("0c2bdb45497fbfe0bca3796613ceb628056cdd47"),
        port: 25839,
        other_port: 0,
        bus_port: 35839,
        ip: String::new(),
        flags: NodeFlags::PRIMARY.and(NodeFlags::MYSELF),
        current_epoch: Epoch(9),
        config_epoch: Epoch(1),
        slots: range(0, 4000),
        primary: None,
        offset: 0,
        is_ok: true,
        is_paused: false,
        is_ordered: false,
        is_kin: false,
    };
    assert_eq!(header, expected);
    let Body::Pong(Gossip { nodes, extensions }) = body else { panic!("{body:?}") };
    let primary = NodeFlags::PRIMARY.and(MAY_HAVE_REPLICAS);
    let node = |id: HexId, port: u16, flags: NodeFlags| GossipNode {
        id,
        ping_sent_s: 0,
        pong_received_s: 1_795_823_612,
        ip: "127.0.0.1".to_owned(),
        port,
        other_port: 0,
        bus_port: port + 10_000,
        flags,
    };
    let expected = [
        node(id(b'f'), 28487, primary),
        node(id_of("546b99818d2a472673baac4d00a46f7b004398ec"), 23822, NodeFlags::REPLICA),
        node(id_of("39719ec8fff59f2765d2a4e967596817d81e3b5e"), 28764, primary),
    ];
    assert_eq!(nodes, expected);
    let hostname = "host-a.example".to_owned();
    assert_eq!(extensions, Extensions { are_known: true, hostname, ..Extensions::default() });
}

#[test]
fn a_meet_of_redis_is_read() {
    let message = captured(include_bytes!("captured/meet"));
    let Body::Meet(Gossip { nodes, extensions }) = message.body else { panic!("{:?}", message.body) };
    assert_eq!(nodes.len(), 3);
    // Redis 7.0 has no host name to tell, and does not say then that it knows of extensions.
    assert_eq!(extensions, Extensions::default());
}

#[test]
fn what_redis_sends_besides_pings_is_read() {
    let bodies = [
        (&include_bytes!("captured/fail")[..], Body::Fail(id_of("546b99818d2a472673baac4d00a46f7b004398ec"))),
        (
            include_bytes!("captured/publish"),
            Body::Publish { channel: Bytes::from_static(b"news"), message: Bytes::from_static(b"hello bus") },
        ),
        (
            include_bytes!("captured/update"),
            Body::Update {
                node: id_of("0c2bdb45497fbfe0bca3796613ceb628056cdd47"),
                config_epoch: Epoch(1),
                slots: range(0, 4000),
            },
        ),
        (include_bytes!("captured/vote_request"), Body::VoteRequest),
    ];
    for (packet, body) in bodies {
        assert_eq!(captured(packet).body, body);
    }
    // It was CLUSTER FAILOVER that made this replica ask.
    let header = captured(include_bytes!("captured/vote_request")).header;
    assert_eq!((header.flags, header.offset), (NodeFlags::REPLICA.and(NodeFlags::MYSELF), 14));
    assert_eq!(
        (header.primary, header.slots),
        (Some(id_of("39719ec8fff59f2765d2a4e967596817d81e3b5e")), range(8001, 12000))
    );
    assert!(header.is_ordered && !header.is_paused);
}
