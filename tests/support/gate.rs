//! A way to a server that one session may only enter once something was done.

use super::postgres::Postgres;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Once};
use std::thread;

/// Passes connections on for as long as the test lives.
pub struct Gate {
    pub port: u16,
}

impl Gate {
    /// Before the first session of that name is let in, `act` is done.
    pub fn before(postgres: &Postgres, application: &'static str, act: impl Fn() + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (server, act, once) = (postgres.port, Arc::new(act), Arc::new(Once::new()));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (act, once) = (act.clone(), once.clone());
                thread::spawn(move || pass(client, server, application, || once.call_once(|| act())));
            }
        });
        Self { port }
    }
}

/// What a client asks first, whether there is encryption.
const ENCRYPTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn pass(mut client: TcpStream, server: u16, application: &str, act: impl Fn()) -> Option<()> {
    let mut startup = [0; 10_000];
    let mut length = client.read(&mut startup).ok()?;
    if startup[..length] == ENCRYPTION {
        client.write_all(b"N").ok()?;
        length = client.read(&mut startup).ok()?;
    }
    let is_named = startup[..length].windows(application.len()).any(|bytes| bytes == application.as_bytes());
    if is_named {
        act();
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    upstream.write_all(&startup[..length]).ok()?;
    let (mut answers, mut back) = (upstream.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut client, &mut upstream);
    let _ = upstream.shutdown(std::net::Shutdown::Both);
    Some(())
}
