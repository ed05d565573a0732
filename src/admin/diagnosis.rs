//! What is to be done about a slot that is not in order: open on some node, served by nobody, or with keys in several places. Pure.
//!
//! The cases are redis-cli's, so that either can go on where the other was interrupted.

use crate::base::hex::HexId;

/// What one primary has to do with the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub id: HexId,
    /// By its own account.
    pub serves: bool,
    /// The node that it sends keys to, as it is written there.
    pub migrating_to: Option<String>,
    pub is_importing: bool,
    pub keys: u64,
}

/// One step of putting it right. Nodes by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This node serves the slot from now on, with a new epoch; whether it closes it, too.
    Claim {
        node: HexId,
        closes: bool,
    },
    /// This node gives it up, and thinks that `owner` serves it.
    Cede {
        node: HexId,
        owner: HexId,
    },
    /// This node takes part in moving keys although it does not serve the slot.
    Import {
        node: HexId,
        from: HexId,
    },
    /// The slot moves, as with `reshard`.
    Move {
        from: HexId,
        to: HexId,
    },
    /// Its keys do, and nothing else.
    MoveKeys {
        from: HexId,
        to: HexId,
    },
    Close {
        node: HexId,
    },
    /// This node is told who serves it.
    Tell {
        node: HexId,
        owner: HexId,
    },
}

/// What closes a slot that is open somewhere.
///
/// # Errors
/// Why it cannot be told what is right.
pub fn open_slot(parts: &[Part]) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let owners: Vec<&Part> = parts.iter().filter(|part| part.serves || part.keys > 0).collect();
    let single = if let [owner] = owners.as_slice() { Some(*owner) } else { None };
    let mut migrating: Vec<&Part> = parts.iter().filter(|part| part.migrating_to.is_some()).collect();
    let is_single = |part: &Part| single.is_some_and(|owner| owner.id == part.id);
    let imports =
        |part: &&Part| part.migrating_to.is_none() && (part.is_importing || part.keys > 0 && !is_single(part));
    let mut importing: Vec<&Part> = parts.iter().filter(imports).collect();
    // Two that have keys, of which one serves the slot and sends them to the other: half moved, as it should be.
    if let ([source], [target]) = (migrating.as_slice(), importing.as_slice())
        && source.serves
        && owners.iter().all(|part| part.id == source.id || part.id == target.id)
    {
        return Ok(vec![Step::Move { from: source.id, to: target.id }]);
    }
    let owner = match single {
        Some(owner) => owner,
        None => {
            let most = most_keys(parts).ok_or("no primary is left that could serve it")?;
            steps.push(Step::Close { node: most.id });
            steps.push(Step::Claim { node: most.id, closes: false });
            migrating.retain(|part| part.id != most.id);
            importing.retain(|part| part.id != most.id);
            for part in owners.iter().filter(|part| part.id != most.id) {
                steps.push(Step::Cede { node: part.id, owner: most.id });
                steps.push(Step::Import { node: part.id, from: most.id });
                importing.retain(|other| other.id != part.id);
                importing.push(part);
                migrating.retain(|other| other.id != part.id);
            }
            most
        }
    };
    match (migrating.as_slice(), importing.as_slice()) {
        ([source], [target]) => steps.push(Step::Move { from: source.id, to: target.id }),
        ([], []) => {}
        ([], importing) => {
            for part in importing.iter().filter(|part| part.id != owner.id) {
                steps.push(Step::MoveKeys { from: part.id, to: owner.id });
                steps.push(Step::Close { node: part.id });
            }
            // The owner itself may think that it imports the slot.
            steps.extend(importing.iter().filter(|part| part.id == owner.id).map(|part| Step::Close { node: part.id }));
            let others = parts.iter().filter(|part| part.id != owner.id);
            steps.extend(others.map(|part| Step::Tell { node: part.id, owner: owner.id }));
        }
        ([source], []) if source.id == owner.id || source.keys == 0 => steps.push(Step::Close { node: source.id }),
        ([source], importing) if importing.iter().all(|part| part.keys == 0) && !importing.is_empty() => {
            let target = importing.iter().find(|part| source.migrating_to.as_deref() == Some(part.id.as_str()));
            match target {
                Some(target) => {
                    steps.push(Step::Move { from: source.id, to: target.id });
                    let others = importing.iter().filter(|part| part.id != target.id);
                    steps.extend(others.map(|part| Step::Close { node: part.id }));
                }
                None => {
                    let all = importing.iter().chain([source]);
                    steps.extend(all.map(|part| Step::Close { node: part.id }));
                }
            }
        }
        _ => {
            return Err(
                "several nodes send its keys away, or several have some: move them by hand with MIGRATE".to_owned()
            );
        }
    }
    Ok(steps)
}

/// What gives a slot that nobody serves a server: whoever has most of its keys, or `any`.
pub fn unserved_slot(parts: &[Part], any: HexId) -> Vec<Step> {
    let holders: Vec<&Part> = parts.iter().filter(|part| part.keys > 0).collect();
    let Some(owner) = most_keys(parts).filter(|most| most.keys > 0) else {
        return vec![Step::Claim { node: any, closes: false }];
    };
    let mut steps = vec![Step::Claim { node: owner.id, closes: holders.len() > 1 }];
    for part in holders.iter().filter(|part| part.id != owner.id) {
        steps.push(Step::Tell { node: part.id, owner: owner.id });
        // Else it would send MIGRATE itself away.
        steps.push(Step::Import { node: part.id, from: owner.id });
        steps.push(Step::MoveKeys { from: part.id, to: owner.id });
        steps.push(Step::Close { node: part.id });
    }
    steps
}

/// What brings the keys of a slot together of which several nodes have some, or think that they serve it.
pub fn several_owners(parts: &[Part]) -> Vec<Step> {
    let owners: Vec<&Part> = parts.iter().filter(|part| part.serves || part.keys > 0).collect();
    let Some(owner) = owners.iter().copied().max_by_key(|part| (part.keys, part.serves)) else { return Vec::new() };
    let mut steps = vec![Step::Claim { node: owner.id, closes: false }];
    for part in parts.iter().filter(|part| part.id != owner.id) {
        steps.push(Step::Cede { node: part.id, owner: owner.id });
        if part.keys > 0 {
            steps.push(Step::Import { node: part.id, from: owner.id });
            steps.push(Step::MoveKeys { from: part.id, to: owner.id });
            steps.push(Step::Close { node: part.id });
        }
    }
    steps
}

/// Of those with as many keys the first, which is redis-cli's choice too.
fn most_keys(parts: &[Part]) -> Option<&Part> {
    let most = parts.iter().map(|part| part.keys).max()?;
    parts.iter().find(|part| part.keys == most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> HexId {
        HexId::parse(format!("{number:040x}").as_bytes()).unwrap()
    }

    fn part(number: usize, serves: bool, keys: u64) -> Part {
        Part { id: id(number), serves, migrating_to: None, is_importing: false, keys }
    }

    fn migrating(number: usize, to: usize, keys: u64) -> Part {
        Part { migrating_to: Some(id(to).to_string()), ..part(number, true, keys) }
    }

    fn importing(number: usize, keys: u64) -> Part {
        Part { is_importing: true, ..part(number, false, keys) }
    }

    #[test]
    fn a_move_that_was_interrupted_goes_on() {
        let forward = [Step::Move { from: id(1), to: id(2) }];
        for (left, arrived) in [(3, 4), (3, 0), (0, 4), (0, 0)] {
            let parts = [migrating(1, 2, left), importing(2, arrived), part(3, false, 0)];
            assert_eq!(open_slot(&parts).unwrap(), forward, "{left} {arrived}");
        }
    }

    #[test]
    fn one_side_alone_is_closed_or_gives_its_keys_to_the_owner() {
        assert_eq!(open_slot(&[migrating(1, 2, 3), part(2, false, 0)]).unwrap(), [Step::Close { node: id(1) }]);
        let steps = open_slot(&[part(1, true, 0), importing(2, 5)]).unwrap();
        // Nobody can tell but by the keys: the one that has them serves it.
        assert_eq!(steps[..2], [Step::Close { node: id(2) }, Step::Claim { node: id(2), closes: false }]);
        let steps = open_slot(&[part(1, true, 9), importing(2, 5)]).unwrap();
        assert_eq!(steps[..2], [Step::Close { node: id(1) }, Step::Claim { node: id(1), closes: false }]);
        assert!(steps.contains(&Step::MoveKeys { from: id(2), to: id(1) }), "{steps:?}");
        assert!(steps.contains(&Step::Tell { node: id(2), owner: id(1) }), "{steps:?}");
        let steps = open_slot(&[part(1, true, 9), importing(2, 0)]).unwrap();
        let closed = [
            Step::MoveKeys { from: id(2), to: id(1) },
            Step::Close { node: id(2) },
            Step::Tell { node: id(2), owner: id(1) },
        ];
        assert_eq!(steps, closed);
    }

    #[test]
    fn of_several_that_import_the_one_that_was_meant_gets_it() {
        let parts = [migrating(1, 3, 7), importing(2, 0), importing(3, 0)];
        let steps = open_slot(&parts).unwrap();
        assert_eq!(steps, [Step::Move { from: id(1), to: id(3) }, Step::Close { node: id(2) }]);
        let parts = [migrating(1, 4, 7), importing(2, 0), importing(3, 0)];
        let steps = open_slot(&parts).unwrap();
        assert_eq!(steps, [2, 3, 1].map(|number| Step::Close { node: id(number) }));
    }

    #[test]
    fn what_nobody_serves_goes_to_whoever_has_its_keys() {
        let any = id(9);
        let empty = [part(1, false, 0), part(2, false, 0)];
        assert_eq!(unserved_slot(&empty, any), [Step::Claim { node: any, closes: false }]);
        let one = [part(1, false, 0), part(2, false, 3)];
        assert_eq!(unserved_slot(&one, any), [Step::Claim { node: id(2), closes: false }]);
        let two = [part(1, false, 1), part(2, false, 3)];
        let steps = unserved_slot(&two, any);
        assert_eq!(steps[0], Step::Claim { node: id(2), closes: true });
        assert!(steps.contains(&Step::MoveKeys { from: id(1), to: id(2) }));
    }

    #[test]
    fn keys_in_several_places_come_together() {
        let parts = [part(1, true, 2), part(2, false, 5), part(3, false, 0)];
        let steps = several_owners(&parts);
        assert_eq!(steps[0], Step::Claim { node: id(2), closes: false });
        assert!(steps.contains(&Step::MoveKeys { from: id(1), to: id(2) }));
        assert!(steps.contains(&Step::Cede { node: id(3), owner: id(2) }));
        assert!(several_owners(&[]).is_empty());
        // Where there are as many, or none, whoever serves it.
        let steps = several_owners(&[part(1, false, 0), part(2, true, 0)]);
        assert_eq!(steps[0], Step::Claim { node: id(2), closes: false });
    }
}
