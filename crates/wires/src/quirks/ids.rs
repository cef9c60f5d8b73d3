//! Ids of calls in the shape that a server demands.

use std::collections::HashMap;
use std::collections::HashSet;

use super::CallIds;

/// The letters and digits of a short id.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NINE: usize = 9;

/// Renames the ids of one request, one to one. The same history gets the same ids in every request.
#[derive(Debug)]
pub(super) struct Names {
    shape: CallIds,
    given: HashMap<String, String>,
    taken: HashSet<String>,
    calls: usize,
}

impl Names {
    /// `all` are the ids of the request: those that fit already must not be given to another.
    pub(super) fn new(shape: CallIds, all: &[String]) -> Self {
        let taken = all.iter().filter(|id| is_nine(id)).cloned().collect();
        Self { shape, given: HashMap::new(), taken, calls: 0 }
    }

    /// Names a call.
    pub(super) fn of_call(&mut self, id: &str, function: &str) -> String {
        match self.shape {
            CallIds::Any => id.to_owned(),
            CallIds::Nine => self.nine(id),
            CallIds::Kimi => {
                let new = format!("functions.{function}:{}", self.calls);
                self.calls += 1;
                // A server that numbers the calls of each answer anew repeats its ids.
                self.given.insert(id.to_owned(), new.clone());
                new
            }
        }
    }

    /// Names the call of a result.
    pub(super) fn of_result(&mut self, id: &str) -> String {
        match self.shape {
            CallIds::Any => id.to_owned(),
            CallIds::Nine => self.nine(id),
            CallIds::Kimi => self.given.get(id).cloned().unwrap_or_else(|| id.to_owned()),
        }
    }

    fn nine(&mut self, id: &str) -> String {
        if is_nine(id) {
            return id.to_owned();
        }
        if let Some(given) = self.given.get(id) {
            return given.clone();
        }
        let mut seed = hash(id);
        let name = loop {
            let name = short(seed);
            if self.taken.insert(name.clone()) {
                break name;
            }
            seed = seed.wrapping_add(1);
        };
        self.given.insert(id.to_owned(), name.clone());
        name
    }
}

fn is_nine(id: &str) -> bool {
    id.len() == NINE && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Hashes an id (64-bit FNV-1a), the same in every process: histories outlive processes.
fn hash(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn short(mut seed: u64) -> String {
    let mut name = String::with_capacity(NINE);
    for _ in 0..NINE {
        let digit = usize::try_from(seed % 62).unwrap_or(0);
        name.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'0')));
        seed /= 62;
    }
    name
}
