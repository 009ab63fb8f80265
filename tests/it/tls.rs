//! TLS to the database: each `sslmode` means for our own connection and for pg_dump what it means for libpq.

use crate::support;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use support::backup::Backup;
use support::postgres::Postgres;
use support::tool;

/// A server with a certificate for `localhost` (and not for 127.0.0.1), reached only with TLS, and its authority.
fn tls_server() -> (Postgres, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    // the leaf's issuer must not have the leaf's own name
    ca.distinguished_name.push(DnType::CommonName, "authority of this test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();

    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    let cert_file = postgres.private_file("server.crt", &cert.pem());
    let key_file = postgres.private_file("server.key", &key.serialize_pem());
    let hba = postgres.private_file("hba.conf", "local all all trust\nhostssl all all all scram-sha-256\n");
    for (name, value) in [("ssl", "on"), ("ssl_cert_file", &cert_file), ("ssl_key_file", &key_file), ("hba_file", &hba)]
    {
        postgres.configure(name, value);
    }
    postgres.launch();
    (postgres, ca_pem)
}

#[test]
fn every_sslmode_holds_for_our_connection_and_for_pg_dump() {
    let (postgres, ca) = tls_server();
    // so large that several connections read it
    postgres.sql("postgres", "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 250000) n");
    let folder = tempfile::tempdir().unwrap();
    let (root, other) = (folder.path().join("root.crt"), folder.path().join("other.crt"));
    std::fs::write(&root, ca).unwrap();
    let stranger = KeyPair::generate().unwrap();
    std::fs::write(&other, CertificateParams::new(Vec::new()).unwrap().self_signed(&stranger).unwrap().pem()).unwrap();
    let (root, other) = (root.to_str().unwrap(), other.to_str().unwrap());
    // host, mode, root certificate, exit code
    let cases = [
        ("127.0.0.1", "disable", "", 77),
        ("127.0.0.1", "allow", "", 0),
        ("127.0.0.1", "prefer", "", 0),
        ("127.0.0.1", "require", "", 0),
        ("127.0.0.1", "require", root, 0),
        ("127.0.0.1", "require", other, 78),
        ("127.0.0.1", "verify-ca", root, 0),
        ("127.0.0.1", "verify-ca", other, 78),
        ("127.0.0.1", "verify-full", root, 78),
        ("localhost", "verify-full", root, 0),
        ("localhost", "verify-full", other, 78),
    ];
    for (host, mode, root, code) in cases {
        let backup = Backup::of(&postgres, "postgres")
            .set("POSTGRES_HOST", host)
            .set("POSTGRES_SSLMODE", mode)
            .set("POSTGRES_SSLROOTCERT", root);
        let outcome = backup.run(&[]);
        assert_eq!(outcome.code, code, "{host} {mode} {root}\n{}", outcome.log);
        assert_eq!(backup.files().len(), if code == 0 { 4 } else { 0 });
    }
}

#[test]
fn a_server_without_tls_is_refused_by_the_modes_that_need_it() {
    let backup = Backup::of(support::postgres::shared(), "postgres").set("POSTGRES_SSLMODE", "require");
    backup.run(&[]).exits(78).says("POSTGRES_SSLMODE");
}
