//! What goes through the network that a process is in: `/proc/PID/net/dev` (proc_pid_net(5)).

use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};

use super::{Gone, Interface};
use crate::sys::read::{Folder, from_start};

/// The most interfaces of one network that are told.
pub const MAX_INTERFACES: usize = 64;

/// The longest file that is read; a host of many containers has an interface for each.
const MAX_FILE: usize = 1 << 20;

/// The network interfaces that a process sees.
#[derive(Debug)]
pub struct Network {
    file: OwnedFd,
    buffer: Vec<u8>,
}

impl Network {
    /// Opens the list of interfaces of the process whose folder in `/proc` this is.
    pub(super) fn open(process: &Folder) -> Result<Network> {
        Ok(Network { file: process.open_file("net/dev")?, buffer: Vec::with_capacity(4096) })
    }

    /// Reads all interfaces but `lo` into `interfaces`, at most [`MAX_INTERFACES`](super::MAX_INTERFACES). The kernel keeps the network as long as
    /// this is open, also when its last process ended: drop it when the group is gone.
    ///
    /// # Errors
    /// When it cannot be read any more; `interfaces` is empty then.
    pub fn read(&mut self, interfaces: &mut Vec<Interface>) -> std::result::Result<(), Gone> {
        if from_start(self.file.as_fd(), &mut self.buffer, MAX_FILE).is_err() {
            interfaces.clear();
            return Err(Gone);
        }
        take(&self.buffer, interfaces);
        Ok(())
    }
}

/// `  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0`, below two lines of headings.
fn take(text: &[u8], interfaces: &mut Vec<Interface>) {
    let mut n = 0;
    for line in text.split_inclusive(|b| *b == b'\n') {
        let Some(colon) = memchr::memrchr(b':', line).filter(|_| line.ends_with(b"\n")) else { continue };
        let name = String::from_utf8_lossy(line[..colon].trim_ascii());
        let mut values = [0u64; 16];
        let mut words = line[colon + 1..].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let is_whole = values.iter_mut().all(|value| {
            let word = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            word.map(|word| *value = word).is_some()
        });
        if !is_whole || name == "lo" || n == MAX_INTERFACES {
            continue;
        }
        if interfaces.len() == n {
            interfaces.push(Interface::default());
        }
        let interface = &mut interfaces[n];
        // The name is nearly always that of before, and its text is kept.
        if interface.name != name {
            interface.name = name.into_owned();
        }
        [interface.received_bytes, interface.received_packets, interface.received_errors, interface.received_dropped] =
            [values[0], values[1], values[2], values[3]];
        [interface.sent_bytes, interface.sent_packets, interface.sent_errors, interface.sent_dropped] =
            [values[8], values[9], values[10], values[11]];
        n += 1;
    }
    interfaces.truncate(n);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_and_the_loopback_is_not() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0: 132061250    4607    1    2    0     0          0         0   245418    2602    3    4    0     0       0          0
  eth0:1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0
  bad0: 1 2 3
  bad1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 x
  cut0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0";
        let mut interfaces = vec![Interface { name: "old".into(), ..Interface::default() }; 5];
        take(text.as_bytes(), &mut interfaces);
        let eth0 = Interface {
            name: "eth0".into(),
            received_bytes: 132_061_250,
            received_packets: 4607,
            received_errors: 1,
            received_dropped: 2,
            sent_bytes: 245_418,
            sent_packets: 2602,
            sent_errors: 3,
            sent_dropped: 4,
        };
        assert_eq!(interfaces[0], eth0);
        assert_eq!(interfaces.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["eth0", "eth0:1"]);
        let many: String = (0..1000).map(|n| format!("v{n}: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n")).collect();
        take(many.as_bytes(), &mut interfaces);
        assert_eq!(interfaces.len(), MAX_INTERFACES);
    }
}
