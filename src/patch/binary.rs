//! Reads `GIT binary patch`: base 85, deflated, and a delta or a whole content.
//!
//! Every size is declared, and bounded before memory is taken for it.

use std::io::Read;

use sha1::Digest;

use super::budget::Budget;
use super::section::Binary;
use super::unified::error_at;
use crate::error::Error;

/// The digits of base 85, as git orders them.
const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Returns the new content, or why the patch does not apply to the old one.
///
/// # Errors
/// `InvalidRequest` if the patch is invalid; those of [`Budget::result`].
pub(super) fn apply(
    patch: &Binary,
    old: Option<&[u8]>,
    text: &str,
    budget: &mut Budget,
) -> Result<Result<Vec<u8>, String>, Error> {
    let invalid = |detail: &str| error_at(patch.line, detail);
    let is_nothing = patch.before.bytes().all(|digit| digit == b'0');
    match old {
        Some(old) if is_nothing || !is_object(&patch.before, old) => {
            let name = patch.before.get(..8).unwrap_or_default();
            return Ok(Err(format!(
                "expected the binary file that `index` names ({name}…), got another"
            )));
        }
        None if !is_nothing => return Ok(Err("no such file".to_owned())),
        _ => {}
    }
    budget.result(patch.size)?;
    let deflated = decode(patch.data.of(text)).ok_or_else(|| invalid("expected base 85"))?;
    let mut data = Vec::with_capacity(usize::try_from(patch.size).unwrap_or_default());
    let mut inflate = flate2::read::ZlibDecoder::new(deflated.as_slice()).take(patch.size + 1);
    let inflated = inflate.read_to_end(&mut data).is_ok() && data.len() as u64 == patch.size;
    if !inflated {
        return Err(invalid("expected deflated data of the declared size"));
    }
    let new = match patch.delta {
        false => data,
        true => delta(&data, old.unwrap_or_default(), budget)?
            .ok_or_else(|| invalid("expected a valid delta"))?,
    };
    if !is_object(&patch.after, &new) && !patch.after.bytes().all(|digit| digit == b'0') {
        return Err(invalid("expected the content that `index` names, got another"));
    }
    Ok(Ok(new))
}

/// Whether a content has a git object name.
fn is_object(name: &str, content: &[u8]) -> bool {
    let header = format!("blob {}\0", content.len());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let found = match name.len() {
        40 => hex(&sha1::Sha1::new().chain_update(&header).chain_update(content).finalize()),
        _ => hex(&sha2::Sha256::new().chain_update(&header).chain_update(content).finalize()),
    };
    found == name
}

/// Decodes lines of base 85. The first letter of a line says how many bytes it holds.
fn decode(data: &[u8]) -> Option<Vec<u8>> {
    let mut values = [None; 256];
    for (value, digit) in (0_u32..).zip(DIGITS) {
        *values.get_mut(usize::from(*digit))? = Some(value);
    }
    let mut bytes = Vec::new();
    for line in data.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end) {
        let Some((length, digits)) = line.split_first() else { continue };
        let length = match length {
            b'A'..=b'Z' => length - b'A' + 1,
            b'a'..=b'z' => length - b'a' + 27,
            _ => return None,
        };
        let end = bytes.len() + usize::from(length);
        let groups = digits.as_chunks::<5>();
        if !groups.1.is_empty() || groups.0.len() != usize::from(length).div_ceil(4) {
            return None;
        }
        for group in groups.0 {
            let mut value = 0_u32;
            for digit in group {
                let digit = values.get(usize::from(*digit)).copied().flatten()?;
                value = value.checked_mul(85)?.checked_add(digit)?;
            }
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.truncate(end);
    }
    Some(bytes)
}

/// Applies a delta as in git's packs; `None` if it is invalid.
///
/// # Errors
/// Those of [`Budget::result`].
fn delta(data: &[u8], old: &[u8], budget: &mut Budget) -> Result<Option<Vec<u8>>, Error> {
    let mut data = data.iter().copied();
    let (Some(old_size), Some(new_size)) = (size(&mut data), size(&mut data)) else {
        return Ok(None);
    };
    if old_size != old.len() as u64 {
        return Ok(None);
    }
    budget.result(new_size)?;
    let new_size = usize::try_from(new_size).unwrap_or_default();
    let mut new = Vec::with_capacity(new_size);
    Ok(copy(&mut data, old, new_size, &mut new).map(|()| new))
}

/// Follows the instructions of a delta.
fn copy(
    data: &mut impl Iterator<Item = u8>,
    old: &[u8],
    size: usize,
    new: &mut Vec<u8>,
) -> Option<()> {
    while let Some(instruction) = data.next() {
        if instruction & 0x80 != 0 {
            let mut number = |first: u8, count: u8| {
                (0..count).try_fold(0_usize, |number, at| {
                    let present = instruction & (1 << (first + at)) != 0;
                    let byte = if present { usize::from(data.next()?) } else { 0 };
                    Some(number | byte << (8 * at))
                })
            };
            let (offset, count) = (number(0, 4)?, number(4, 3)?);
            let count = if count == 0 { 0x10000 } else { count };
            new.extend_from_slice(old.get(offset..offset.checked_add(count)?)?);
        } else if instruction != 0 {
            for _ in 0..instruction {
                new.push(data.next()?);
            }
        } else {
            return None;
        }
        if new.len() > size {
            return None;
        }
    }
    (new.len() == size).then_some(())
}

/// Reads a size: seven bits a byte, the lowest first.
fn size(data: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut size = 0_u64;
    for shift in (0..63).step_by(7) {
        let byte = data.next()?;
        size |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(size);
        }
    }
    None
}
