//! Ways to a server: one that a session may only enter once something was done, and one that can be closed.

use super::postgres::Postgres;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, Once};
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
        let _ = back.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut client, &mut upstream);
    let _ = upstream.shutdown(Shutdown::Both);
    Some(())
}

/// A way to a server that can be closed: connections end, and others are refused.
pub struct Door {
    pub port: u16,
    state: Arc<Mutex<DoorState>>,
}

#[derive(Default)]
struct DoorState {
    is_closed: bool,
    refused: usize,
    passing: Vec<TcpStream>,
}

impl Door {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<DoorState>> = Arc::default();
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = shared.lock().unwrap();
                if state.is_closed {
                    state.refused += 1;
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                state.passing.extend([client.try_clone().unwrap(), upstream.try_clone().unwrap()]);
                for (mut from, mut to) in
                    [(client.try_clone().unwrap(), upstream.try_clone().unwrap()), (upstream, client)]
                {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self { port, state }
    }

    pub fn close(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_closed = true;
        for stream in state.passing.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
    }

    /// Connections that were refused so far.
    pub fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }
}
