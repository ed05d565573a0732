//! What every node of a cluster should say, and waiting until every node says it.

use std::time::{Duration, Instant};

use super::Failure;
use super::members::{Meeting, Member};
use super::output::{Output, count};
use super::topology::{SlotRange, View};
use crate::base::hex::HexId;

/// Between two looks at all nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Between two tries to bring nodes together that have not found each other. They hear of each other from those they have
/// met, which takes the longer, the longer the node timeout is; and a handshake that a node has given up stays given up.
const MEETING_INTERVAL: Duration = Duration::from_secs(1);
/// How many nodes one node is told to meet in one such try.
const MEETINGS_MAX: usize = 8;

/// A node as every other should know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub id: HexId,
    /// Of a replica.
    pub primary: Option<HexId>,
    pub slots: Vec<SlotRange>,
}

/// What all nodes of this view are, to be expected of other views.
pub fn expected_by(view: &View) -> Vec<Expected> {
    let of = view.settled();
    of.map(|node| Expected { id: node.id, primary: node.primary, slots: node.slots.clone() }).collect()
}

/// What a view lacks of what is expected of it; `None` when it lacks nothing. Nodes that nobody expects may be in it.
pub fn lack(view: &View, expected: &[Expected]) -> Option<String> {
    let known = expected.iter().filter(|node| view.get(node.id).is_some_and(|known| !known.has_no_address)).count();
    if known < expected.len() {
        return Some(format!("knows {known} of {}", count(expected.len(), "node")));
    }
    for wanted in expected {
        let Some(node) = view.get(wanted.id) else { continue };
        let name = format!("{}:{}", node.ip, node.port);
        if node.has_failed || node.may_have_failed {
            return Some(format!("does not reach {name}"));
        }
        if node.is_replica != wanted.primary.is_some() || node.primary != wanted.primary {
            return Some(format!("has not heard yet whom {name} replicates"));
        }
        if node.slots != wanted.slots {
            return Some(format!("has not heard yet which slots {name} serves"));
        }
    }
    None
}

/// Looks at all members until none lacks anything, for at most `limit`. `lack_of` says what one lacks, given all;
/// `help` is called between two looks.
///
/// # Errors
/// A node is gone, or the time is over: one line for each node that lacks something.
pub fn wait_for_all(
    members: &mut [Member],
    limit: Duration,
    output: &mut Output,
    lack_of: impl Fn(&[Member], &Member) -> Option<String>,
    mut help: impl FnMut(&mut [Member]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let loading = refresh_all(members)?;
        let lack_of = |(member, is_loading): (&Member, bool)| {
            let lack = if is_loading { Some("is still loading its data".to_owned()) } else { lack_of(members, member) };
            lack.map(|lack| format!("{} {lack}", member.name()))
        };
        let lacks: Vec<String> = members.iter().zip(loading).filter_map(lack_of).collect();
        if lacks.is_empty() {
            return Ok(());
        }
        let (seconds, late, all) = (begun.elapsed().as_secs(), lacks.len(), members.len());
        if begun.elapsed() >= limit {
            let line = format!(
                "{late} of {all} nodes did not agree within {seconds} s; every node must reach the bus port of every other (cluster-port, or 10000 above its port)"
            );
            return Err(Failure::Failed(std::iter::once(line).chain(lacks).collect()));
        }
        output.progress(&format!("{} of {} ({seconds} s)", all - late, count(all, "node")));
        help(members)?;
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Lets every member say anew what it knows, and returns which of them cannot because they load their data.
fn refresh_all(members: &mut [Member]) -> Result<Vec<bool>, Failure> {
    let refreshed = members.iter_mut().map(|member| match member.refresh() {
        Ok(()) => Ok(false),
        Err(trouble) if trouble.is_loading() => Ok(true),
        Err(trouble) => Err(Failure::from(trouble)),
    });
    refreshed.collect()
}

/// Makes one cluster of members of which each new one has been told to meet another: `wait_for_all` for `expected`, in which
/// members that do not know each other are told to meet, and each of `replicas` (its id, its primary's) becomes one as
/// soon as it knows its primary. With `must_serve` all must say that the cluster is ok.
///
/// # Errors
/// Those of `wait_for_all`, and a node that refuses.
pub fn bring_together(
    members: &mut [Member],
    expected: &[Expected],
    replicas: &[(HexId, HexId)],
    must_serve: bool,
    limit: Duration,
    output: &mut Output,
) -> Result<(), Failure> {
    let lack_of = |_: &[Member], member: &Member| {
        lack(&member.view, expected).or_else(|| if must_serve { lack_of_service(member) } else { None })
    };
    let mut met = Instant::now();
    wait_for_all(members, limit, output, lack_of, |members| {
        for (id, primary) in replicas {
            let waiting = |member: &&mut Member| member.id() == *id && member.myself().primary != Some(*primary);
            if let Some(member) = members.iter_mut().find(waiting).filter(|member| member.view.get(*primary).is_some())
            {
                member.client.ask(&["CLUSTER", "REPLICATE", primary.as_str()])?;
            }
        }
        if met.elapsed() >= MEETING_INTERVAL {
            met = Instant::now();
            meet_again(members)?;
        }
        Ok(())
    })
}

/// What a member lacks that does not serve.
pub fn lack_of_service(member: &Member) -> Option<String> {
    (!member.info.is_ok).then(|| "says cluster_state:fail".to_owned())
}

/// Lets members meet those that they do not know.
fn meet_again(members: &mut [Member]) -> Result<(), Failure> {
    let all: Vec<(HexId, Meeting)> = members.iter().map(|member| (member.id(), member.meeting())).collect();
    for member in members {
        let unknown: Vec<&Meeting> =
            all.iter().filter(|(id, _)| member.view.get(*id).is_none()).map(|(_, meeting)| meeting).collect();
        for meeting in unknown.into_iter().take(MEETINGS_MAX) {
            member.meet(meeting)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "07c37dfeb235213a872192d90877d0cd55635b91";
    const B: &str = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1";

    fn view(lines: &[String]) -> View {
        View::parse(lines.join("\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_view_lacks_what_it_does_not_know_or_holds_for_failed() {
        let myself = format!("{A} 10.0.0.1:1@2 myself,master - 0 0 1 connected 0-16383");
        let expected = expected_by(&view(&[myself.clone(), format!("{B} 10.0.0.2:1@2 slave {A} 0 0 1 connected")]));
        let cases = [
            (format!("{B} 10.0.0.2:1@2 slave {A} 0 0 1 connected"), None),
            (format!("{B} 10.0.0.2:1@2 slave {A} 0 0 1 disconnected"), None),
            (format!("{B} 10.0.0.2:1@2 handshake - 0 0 1 disconnected"), Some("knows 1 of 2 nodes")),
            (format!("{B} :0@0 slave,noaddr {A} 0 0 1 disconnected"), Some("knows 1 of 2 nodes")),
            (format!("{B} 10.0.0.2:1@2 slave,fail? {A} 0 0 1 connected"), Some("does not reach 10.0.0.2:1")),
            (
                format!("{B} 10.0.0.2:1@2 master - 0 0 1 connected"),
                Some("has not heard yet whom 10.0.0.2:1 replicates"),
            ),
            (
                format!("{B} 10.0.0.2:1@2 slave {B} 0 0 1 connected"),
                Some("has not heard yet whom 10.0.0.2:1 replicates"),
            ),
            (
                format!("{B} 10.0.0.2:1@2 slave {A} 0 0 1 connected 3"),
                Some("has not heard yet which slots 10.0.0.2:1 serves"),
            ),
        ];
        for (line, said) in cases {
            assert_eq!(lack(&view(&[myself.clone(), line.clone()]), &expected).as_deref(), said, "{line}");
        }
        // A node more is no lack.
        let [first, ..] = expected.as_slice() else { panic!() };
        let more = view(&[myself, format!("{B} 10.0.0.2:1@2 master - 0 0 1 connected")]);
        assert_eq!(lack(&more, std::slice::from_ref(first)), None);
    }
}
