//! What an engine says that a container uses.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Odd, shown, time};
use crate::sys::cgroup::{Figures, Interface};

/// The most interfaces of one container.
const MAX_INTERFACES: usize = 64;

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    read: Option<String>,
    #[serde(default)]
    cpu_stats: Option<Cpu>,
    #[serde(default)]
    memory_stats: Option<Memory>,
    #[serde(default)]
    pids_stats: Option<Pids>,
    #[serde(default)]
    blkio_stats: Option<Blocks>,
    #[serde(default)]
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Deserialize)]
struct Cpu {
    #[serde(default)]
    cpu_usage: Option<Usage>,
    #[serde(default)]
    throttling_data: Option<Throttling>,
}

#[derive(Deserialize)]
struct Usage {
    total_usage: u64,
    #[serde(default)]
    usage_in_usermode: Option<u64>,
    #[serde(default)]
    usage_in_kernelmode: Option<u64>,
}

#[derive(Deserialize)]
struct Throttling {
    #[serde(default)]
    periods: u64,
    #[serde(default)]
    throttled_periods: u64,
    #[serde(default)]
    throttled_time: u64,
}

#[derive(Deserialize)]
struct Memory {
    #[serde(default)]
    usage: Option<u64>,
    #[serde(default)]
    max_usage: Option<u64>,
    #[serde(default)]
    failcnt: Option<u64>,
    #[serde(default)]
    stats: Option<Parts>,
}

/// Lines of `memory.stat`: of version 1 those that count groups inside too, of version 2 all do.
#[derive(Deserialize)]
struct Parts {
    total_inactive_file: Option<u64>,
    total_rss: Option<u64>,
    total_cache: Option<u64>,
    total_swap: Option<u64>,
    inactive_file: Option<u64>,
    anon: Option<u64>,
    file: Option<u64>,
}

#[derive(Deserialize)]
struct Pids {
    #[serde(default)]
    current: Option<u64>,
}

#[derive(Deserialize)]
struct Blocks {
    #[serde(default)]
    io_service_bytes_recursive: Option<Vec<Block>>,
    #[serde(default)]
    io_serviced_recursive: Option<Vec<Block>>,
}

#[derive(Deserialize)]
struct Block {
    op: String,
    value: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Network {
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

/// Reads one object of `/containers/ID/stats`. Limits are left out: an engine names the memory of the host where there is
/// none, and the inspection has them. Of a container that does not run nothing is known.
///
/// # Errors
/// When it is none.
pub fn stats(json: &[u8]) -> Result<(Figures, Vec<Interface>), Odd> {
    let told: Told = serde_json::from_slice(json).map_err(|_| Odd)?;
    let mut figures = Figures::default();
    if told.read.as_deref().and_then(time).is_none() {
        return Ok((figures, Vec::new()));
    }
    if let Some(cpu) = told.cpu_stats {
        take_cpu(cpu, &mut figures);
    }
    if let Some(memory) = told.memory_stats {
        take_memory(&memory, &mut figures);
    }
    figures.pids = told.pids_stats.and_then(|pids| pids.current);
    if let Some(blocks) = told.blkio_stats {
        (figures.read_bytes, figures.written_bytes) = both_ways(blocks.io_service_bytes_recursive);
        (figures.reads, figures.writes) = both_ways(blocks.io_serviced_recursive);
    }
    let networks = told.networks.unwrap_or_default().into_iter().take(MAX_INTERFACES);
    Ok((figures, networks.map(|(name, network)| interface(&name, &network)).collect()))
}

fn take_cpu(cpu: Cpu, figures: &mut Figures) {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    if let Some(usage) = cpu.cpu_usage {
        figures.cpu_usage = Some(seconds(usage.total_usage));
        figures.cpu_user = usage.usage_in_usermode.map(seconds);
        figures.cpu_system = usage.usage_in_kernelmode.map(seconds);
    }
    if let Some(throttling) = cpu.throttling_data {
        figures.cpu_periods = Some(throttling.periods);
        figures.cpu_throttled_periods = Some(throttling.throttled_periods);
        figures.cpu_throttled = Some(seconds(throttling.throttled_time));
    }
}

fn take_memory(memory: &Memory, figures: &mut Figures) {
    figures.memory_usage = memory.usage;
    figures.memory_max_usage = memory.max_usage;
    let Some(parts) = &memory.stats else { return };
    figures.memory_inactive_file = parts.total_inactive_file.or(parts.inactive_file);
    figures.memory_rss = parts.total_rss.or(parts.anon);
    figures.memory_cache = parts.total_cache.or(parts.file);
    figures.memory_swap = parts.total_swap;
    // Left out where it is 0; with version 2 an engine puts something else there.
    figures.memory_failures = parts.total_rss.map(|_| memory.failcnt.unwrap_or(0));
}

/// Reads and writes over all devices; nothing where none is listed.
fn both_ways(blocks: Option<Vec<Block>>) -> (Option<u64>, Option<u64>) {
    let blocks = blocks.unwrap_or_default();
    let sum = |op: &str| {
        let of_op = blocks.iter().filter(|block| block.op.eq_ignore_ascii_case(op));
        (!blocks.is_empty()).then(|| of_op.fold(0u64, |sum, block| sum.saturating_add(block.value)))
    };
    (sum("read"), sum("write"))
}

fn interface(name: &str, network: &Network) -> Interface {
    Interface {
        name: shown(name),
        received_bytes: network.rx_bytes,
        received_packets: network.rx_packets,
        received_errors: network.rx_errors,
        received_dropped: network.rx_dropped,
        sent_bytes: network.tx_bytes,
        sent_packets: network.tx_packets,
        sent_errors: network.tx_errors,
        sent_dropped: network.tx_dropped,
    }
}
