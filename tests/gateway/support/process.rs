//! Processes of this machine, as `/proc` shows them.

use std::path::Path;

/// Returns a duration in seconds that no other test sleeps for.
pub fn marker() -> String {
    format!("86{:09}", uuid::Uuid::new_v4().as_u128() % 1_000_000_000)
}

/// Whether a process with this argument is running: the command itself, not a gateway, bwrap or
/// shell that holds it in a longer argument.
pub fn process_runs(argument: &str) -> bool {
    any_process(|process| has_argument(process, argument))
}

/// Whether a process with this argument is running and not stopped by a signal.
pub fn process_continues(argument: &str) -> bool {
    any_process(|process| {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        has_argument(process, argument) && !status.contains("(stopped)")
    })
}

/// Whether any command line holds this text: that of the command, its shell or its sandbox.
pub fn command_line_holds(text: &str) -> bool {
    any_process(|process| {
        command_line(process).windows(text.len()).any(|part| part == text.as_bytes())
    })
}

/// Returns the resident memory of a process, in bytes.
pub fn resident_memory(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Returns the TCP ports that a process listens on.
pub fn listening_ports(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter_map(|link| {
            let link = link.display().to_string();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]);
            listens.then(|| u16::from_str_radix(fields[1].split_once(':').unwrap().1, 16).unwrap())
        })
        .collect()
}

fn any_process(matches: impl Fn(&Path) -> bool) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| matches(&entry.path()))
}

fn has_argument(process: &Path, argument: &str) -> bool {
    command_line(process).split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
}

fn command_line(process: &Path) -> Vec<u8> {
    std::fs::read(process.join("cmdline")).unwrap_or_default()
}
