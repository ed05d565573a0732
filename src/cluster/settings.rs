//! The part of the configuration that the cluster state follows.

use crate::config::{Config, EndpointType};

/// The bus listens this much above the port unless cluster-port says otherwise.
pub const BUS_PORT_OFFSET: u16 = 10_000;

/// What this node announces of itself and how it judges the cluster; compared whole to see whether anything moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Empty: learned from peers.
    pub announce_ip: String,
    pub port: u16,
    pub tls_port: u16,
    pub bus_port: u16,
    pub hostname: String,
    pub human_name: String,
    pub no_failover: bool,
    pub require_full_coverage: bool,
    pub node_timeout_ms: u64,
    /// cluster-ping-interval; 0 for half the node timeout.
    pub ping_interval_ms: u64,
    /// Replicas that a primary keeps before one of them may migrate.
    pub migration_barrier: usize,
    pub allow_replica_migration: bool,
    /// A replica whose primary was last heard longer ago than this many node timeouts does not take over; 0: however long.
    pub validity_factor: u64,
    /// repl-ping-replica-period: so long may be between two words of a primary that is well.
    pub replica_ping_ms: u64,
    /// The bus speaks TLS: its packets name the port for TLS first.
    pub tls_cluster: bool,
    pub endpoint_type: EndpointType,
}

impl ClusterSettings {
    pub fn of(config: &Config) -> ClusterSettings {
        let announced = |announced: u16, own: u16| if announced != 0 { announced } else { own };
        let bus_port = ClusterSettings::bus_port(config);
        ClusterSettings {
            announce_ip: config.cluster_announce_ip.clone(),
            port: announced(config.cluster_announce_port, config.port),
            tls_port: announced(config.cluster_announce_tls_port, config.tls_port),
            bus_port: announced(config.cluster_announce_bus_port, bus_port),
            hostname: config.cluster_announce_hostname.clone(),
            human_name: config.cluster_announce_human_nodename.clone(),
            no_failover: config.cluster_replica_no_failover,
            require_full_coverage: config.cluster_require_full_coverage,
            node_timeout_ms: config.cluster_node_timeout,
            ping_interval_ms: config.cluster_ping_interval,
            migration_barrier: config.cluster_migration_barrier as usize,
            allow_replica_migration: config.cluster_allow_replica_migration,
            validity_factor: u64::from(config.cluster_replica_validity_factor),
            replica_ping_ms: u64::from(config.repl_ping_replica_period) * 1000,
            tls_cluster: config.tls_cluster,
            endpoint_type: config.cluster_preferred_endpoint_type,
        }
    }

    /// Where the bus listens.
    pub fn bus_port(config: &Config) -> u16 {
        let default_port = if config.tls_cluster { config.tls_port } else { config.port };
        if config.cluster_port != 0 { config.cluster_port } else { default_port.saturating_add(BUS_PORT_OFFSET) }
    }

    /// A port that leaves no room for the bus is refused at the start.
    ///
    /// # Errors
    /// Redis's line for the operator.
    pub fn check_ports(config: &Config) -> Result<(), String> {
        let port = if config.tls_cluster { config.tls_port } else { config.port };
        if config.cluster_port == 0 && port > u16::MAX - BUS_PORT_OFFSET {
            return Err(
                "Redis port number too high. Cluster communication port is 10,000 port numbers higher than your \
                        Redis port. Your Redis port number must be 55535 or less."
                    .to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_ports_win_over_own_ones() {
        let mut config = Config { port: 7000, ..Config::default() };
        let ports = |config: &Config| {
            let settings = ClusterSettings::of(config);
            (settings.port, settings.bus_port)
        };
        assert_eq!(ports(&config), (7000, 17000));
        config.cluster_port = 9000;
        assert_eq!(ports(&config), (7000, 9000));
        (config.cluster_announce_port, config.cluster_announce_bus_port) = (1, 2);
        assert_eq!(ports(&config), (1, 2));
    }

    #[test]
    fn the_bus_needs_room_above_the_port() {
        let config = |port, cluster_port| Config { port, cluster_port, ..Config::default() };
        assert!(ClusterSettings::check_ports(&config(55535, 0)).is_ok());
        assert!(ClusterSettings::check_ports(&config(55536, 0)).is_err());
        assert!(ClusterSettings::check_ports(&config(55536, 1)).is_ok());
    }
}
