//! The options of `slotcore cluster`: their names, what stands behind them, and which subcommands take them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Replicas,
    Yes,
    SearchOwners,
    Replica,
    PrimaryId,
    OnlyPrimaries,
    OnlyReplicas,
    From,
    To,
    Slots,
    Timeout,
    Pipeline,
    Replace,
    KeyByKey,
    Whole,
    Weight,
    UseEmpty,
    Threshold,
    Simulate,
    WithUnreachable,
    Wait,
    Password,
    User,
    NoWarning,
}

pub(super) struct OptionSpec {
    pub option: Opt,
    /// The one that help shows comes first.
    pub names: &'static [&'static str],
    /// What stands behind it, for those that take a value.
    pub value: Option<&'static str>,
    pub meaning: &'static str,
}

const fn row(
    option: Opt,
    names: &'static [&'static str],
    value: Option<&'static str>,
    meaning: &'static str,
) -> OptionSpec {
    OptionSpec { option, names, value, meaning }
}

#[rustfmt::skip]
pub(super) const OPTIONS: &[OptionSpec] = &[
    row(Opt::Replicas, &["--cluster-replicas", "--replicas"], Some("<count>"), "replicas for each primary (default 0)"),
    row(Opt::SearchOwners, &["--cluster-search-multiple-owners", "--search-multiple-owners"], None, "look for slots whose keys lie on several primaries"),
    row(Opt::Replica, &["--cluster-replica", "--cluster-slave", "--replica", "--slave"], None, "the new node becomes a replica"),
    row(Opt::PrimaryId, &["--cluster-master-id", "--master-id"], Some("<id>"), "of this primary (default: the one with the fewest)"),
    row(Opt::OnlyPrimaries, &["--cluster-only-masters", "--only-masters"], None, "primaries alone"),
    row(Opt::OnlyReplicas, &["--cluster-only-replicas", "--only-replicas"], None, "replicas alone"),
    row(Opt::From, &["--cluster-from", "--from"], Some("<ids>"), "give slots: ids with commas between, or all"),
    row(Opt::To, &["--cluster-to", "--to"], Some("<id>"), "takes them"),
    row(Opt::Slots, &["--cluster-slots", "--slots"], Some("<count>"), "how many"),
    row(Opt::Weight, &["--cluster-weight", "--weight"], Some("<id=weight ...>"), "of primaries; 1 where none is given, 0 gives all away"),
    row(Opt::UseEmpty, &["--cluster-use-empty-masters", "--use-empty-masters"], None, "primaries without slots get some"),
    row(Opt::Threshold, &["--cluster-threshold", "--threshold"], Some("<percent>"), "nothing moves while all are as near (default 2)"),
    row(Opt::Simulate, &["--cluster-simulate", "--simulate"], None, "only say what would move"),
    row(Opt::WithUnreachable, &["--cluster-fix-with-unreachable-masters", "--fix-with-unreachable-masters"], None, "give slots of primaries that do not answer to others"),
    row(Opt::Timeout, &["--cluster-timeout", "--timeout"], Some("<milliseconds>"), "of MIGRATE (default 60000)"),
    row(Opt::Pipeline, &["--cluster-pipeline", "--pipeline"], Some("<count>"), "keys of one MIGRATE (default 10)"),
    row(Opt::Replace, &["--cluster-replace", "--replace"], None, "keys that are at the target already are replaced"),
    row(Opt::KeyByKey, &["--cluster-key-by-key", "--key-by-key"], None, "with MIGRATE, also where both nodes can move slots as a whole"),
    // valkey-cli wants to be told what is the rule here.
    row(Opt::Whole, &["--cluster-use-atomic-slot-migration", "--use-atomic-slot-migration"], None, ""),
    row(Opt::Wait, &["--cluster-wait", "--wait"], Some("<seconds>"), "how long the nodes may take to agree (default 60)"),
    row(Opt::Yes, &["--cluster-yes", "--yes"], None, "do not ask (or REDISCLI_CLUSTER_YES=1)"),
    row(Opt::Password, &["-a", "--pass"], Some("<password>"), "for AUTH (better: REDISCLI_AUTH, which other users do not see)"),
    row(Opt::User, &["--user"], Some("<name>"), "for AUTH, with a password"),
    // redis-cli warns of passwords on the command line and this silences it; scripts give it out of habit.
    row(Opt::NoWarning, &["--no-auth-warning"], None, ""),
];

/// Options of the subcommands that move keys.
pub(super) const MOVING: &[Opt] = &[Opt::Timeout, Opt::Pipeline, Opt::Replace, Opt::KeyByKey, Opt::Whole, Opt::Wait];

/// Options that every subcommand takes.
pub(super) const EVERYWHERE: &[Opt] = &[Opt::Yes, Opt::Password, Opt::User, Opt::NoWarning];
