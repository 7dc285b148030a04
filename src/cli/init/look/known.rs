//! What is known not to speak HTTP, by the number of its port or the name of its program: nothing is ever sent to it.

use crate::cli::init::findings::Known;

/// Title, name of the table, whether it belongs to every host, ports, programs (as `/proc/PID/comm` cuts them).
type Row = (&'static str, &'static str, bool, &'static [u16], &'static [&'static str]);

const ROWS: [Row; 36] = [
    ("PostgreSQL", "postgres", false, &[5432, 5433], &["postgres", "postmaster"]),
    ("PgBouncer", "pgbouncer", false, &[6432], &["pgbouncer"]),
    ("MySQL", "mysql", false, &[3306, 33060], &["mysqld", "mariadbd", "mysqlrouter"]),
    ("Redis", "redis", false, &[6379], &["redis-server", "valkey-server", "keydb-server"]),
    ("Redis Sentinel", "redis-sentinel", false, &[26379], &["redis-sentinel", "valkey-sentinel"]),
    ("memcached", "memcached", false, &[11211], &["memcached"]),
    ("MongoDB", "mongodb", false, &[27017, 27018, 27019], &["mongod", "mongos"]),
    ("Cassandra", "cassandra", false, &[7000, 7199, 9042], &[]),
    ("RabbitMQ", "rabbitmq", false, &[5671, 5672, 25672], &[]),
    ("Kafka", "kafka", false, &[9092], &[]),
    ("ZooKeeper", "zookeeper", false, &[2181], &[]),
    ("NATS", "nats", false, &[4222, 6222], &[]),
    ("MQTT", "mqtt", false, &[1883, 8883], &["mosquitto"]),
    ("SQL Server", "mssql", false, &[1433], &["sqlservr"]),
    ("Oracle Database", "oracle", false, &[1521], &["tnslsnr"]),
    ("etcd (its peers)", "etcd-peers", false, &[2380], &[]),
    // By its program only: many others have port 9000.
    ("PHP-FPM", "php-fpm", false, &[], &["php-fpm"]),
    ("LDAP", "ldap", false, &[389, 636], &["slapd"]),
    ("IMAP", "imap", false, &[143, 993], &["dovecot"]),
    ("POP3", "pop3", false, &[110, 995], &[]),
    ("FTP", "ftp", false, &[20, 21, 990], &["vsftpd", "proftpd"]),
    ("SMB", "smb", false, &[139, 445], &["smbd"]),
    ("HTTPS", "https", false, &[443, 6443, 8443, 9443], &[]),
    ("SSH", "ssh", true, &[22], &["sshd"]),
    ("mail", "smtp", true, &[25, 465, 587], &["master", "exim4", "sendmail"]),
    ("DNS", "dns", true, &[53, 853, 5355], &["systemd-resolve", "named", "unbound", "dnsmasq"]),
    ("RPC", "rpc", true, &[111], &["rpcbind", "rpc.statd", "rpc.mountd"]),
    ("NFS", "nfs", true, &[2049], &[]),
    ("printing", "cups", true, &[631], &["cupsd"]),
    ("systemd", "systemd", true, &[], &["systemd"]),
    ("time", "time", true, &[123, 323], &["chronyd", "ntpd"]),
    ("remote desktop", "vnc", true, &[3389, 5900, 5901], &["Xvnc", "x11vnc"]),
    ("X11", "x11", true, &[6000, 6010, 6011], &["Xorg"]),
    ("container engine", "engine", true, &[2375, 2376], &["containerd", "dockerd", "conmon"]),
    ("Erlang's names", "epmd", true, &[4369], &["epmd"]),
    ("debugger", "debugger", true, &[5005, 9229], &["gdbserver"]),
];

/// What listens there, where that is known: the program says it more surely than the port. `inner` is the port inside
/// the container, where it is one's.
pub fn known(port: u16, inner: Option<u16>, program: Option<&str>) -> Option<Known> {
    let of = |(title, name, is_base, ..): &Row| Known { title, name, is_base: *is_base };
    let by_program = |row: &&Row| program.is_some_and(|program| row.4.contains(&program) || is_fpm(row, program));
    // Another port that a container's is mapped to says nothing about it.
    let by_port = |row: &&Row| row.3.contains(&inner.unwrap_or(port));
    ROWS.iter().find(by_program).or_else(|| ROWS.iter().find(by_port)).map(of)
}

/// `php-fpm8.2`
fn is_fpm(row: &Row, program: &str) -> bool {
    row.1 == "php-fpm" && program.starts_with("php-fpm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_no_http_is_known_by_its_program_or_its_port() {
        for (port, inner, program, wanted) in [
            (5432, None, None, Some("postgres")),
            (15432, None, Some("postgres"), Some("postgres")),
            (15432, Some(5432), Some("docker-proxy"), Some("postgres")),
            (5432, Some(8080), Some("docker-proxy"), None),
            (6379, None, Some("redis-server"), Some("redis")),
            (9000, None, Some("php-fpm8.2"), Some("php-fpm")),
            (8080, None, Some("java"), None),
            (22, None, None, Some("ssh")),
            (443, None, Some("nginx"), Some("https")),
        ] {
            let known = known(port, inner, program).map(|known| known.name);
            assert_eq!(known, wanted, "{port} {inner:?} {program:?}");
        }
    }

    #[test]
    fn each_port_and_each_program_stands_in_one_row() {
        let mut ports: Vec<u16> = ROWS.iter().flat_map(|row| row.3).copied().collect();
        let mut programs: Vec<&str> = ROWS.iter().flat_map(|row| row.4).copied().collect();
        let n = (ports.len(), programs.len());
        ports.sort_unstable();
        ports.dedup();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!((ports.len(), programs.len()), n);
    }
}
