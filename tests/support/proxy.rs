//! A network between client and server that can break: connections are cut, or nothing comes through any more.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Forwards connections to a server on this machine until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
}

/// What all connections have in common.
#[derive(Debug)]
struct Network {
    upstream: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    links: Vec<Link>,
    accepted: usize,
    refuses: bool,
    closed: bool,
    /// How many bytes the server may still send before the connection is cut in the middle of whatever it is.
    bytes_left: Option<usize>,
}

/// One connection.
#[derive(Debug)]
struct Link {
    number: usize,
    ends: [TcpStream; 2],
    stalled: bool,
}

impl Proxy {
    /// A way to the server on that port.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let network =
            Arc::new(Network { upstream, state: Mutex::new(State::default()), changed: Condvar::new() });
        let accepting = Arc::clone(&network);
        thread::spawn(move || accepting.accept_from(&listener));
        Self { address, network }
    }

    /// A connection string for the server behind it.
    pub fn conninfo(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres sslmode=disable gssencmode=disable",
            self.address.port()
        )
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.network.state.lock().unwrap().accepted
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.network.state.lock().unwrap().cut();
        self.network.changed.notify_all();
    }

    /// Lets the server send so many bytes more, and then cuts.
    pub fn cut_after(&self, bytes: usize) {
        self.network.state.lock().unwrap().bytes_left = Some(bytes);
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.network.state.lock().unwrap().refuses = refuses;
    }

    /// Nothing comes through the present connections any more, and nobody is told; new ones work.
    pub fn stall(&self) {
        for link in &mut self.network.state.lock().unwrap().links {
            link.stalled = true;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.network.state.lock().unwrap();
        state.closed = true;
        state.cut();
        drop(state);
        self.network.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut(&mut self) {
        for link in self.links.drain(..) {
            for end in link.ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Network {
    fn accept_from(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let Ok(client) = client else { continue };
            let mut state = self.state.lock().unwrap();
            if state.closed {
                return;
            }
            state.accepted += 1;
            if state.refuses {
                continue;
            }
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream)) else { continue };
            let number = state.accepted;
            for end in [&client, &server] {
                end.set_nodelay(true).unwrap();
            }
            let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
            state.links.push(Link { number, ends, stalled: false });
            for (from, to, is_server) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap(), false), (server, client, true)]
            {
                let network = Arc::clone(&self);
                thread::spawn(move || network.forward(number, from, to, is_server));
            }
        }
    }

    /// Forwards in one direction until one side ends or the connection is cut.
    fn forward(&self, number: usize, mut from: TcpStream, mut to: TcpStream, from_server: bool) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let Some(allowed) = self.allowed(number, from_server, length) else { return };
            if to.write_all(&buffer[..allowed]).is_err() {
                break;
            }
            if allowed < length {
                return self.cut_here();
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// How much of what was read may go on; waits while the connection is stalled. None once it is cut.
    fn allowed(&self, number: usize, from_server: bool, length: usize) -> Option<usize> {
        let mut state = self.state.lock().unwrap();
        loop {
            let link = state.links.iter().find(|link| link.number == number)?;
            if !link.stalled {
                break;
            }
            state = self.changed.wait(state).unwrap();
        }
        match &mut state.bytes_left {
            Some(left) if from_server => {
                let allowed = length.min(*left);
                *left -= allowed;
                Some(allowed)
            }
            _ => Some(length),
        }
    }

    fn cut_here(&self) {
        let mut state = self.state.lock().unwrap();
        state.bytes_left = None;
        state.cut();
        self.changed.notify_all();
    }
}
