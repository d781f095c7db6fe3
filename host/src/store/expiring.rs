//! Rows that are kept until an instant: Idempotency-Keys' stamps and big pins.
//!
//! Two kinds of rows share a table, told apart by the first byte of the key:
//!
//! ```text
//! 'k' name(16)             -> until(8) bytes
//! 'u' until(8) name(16)    -> nothing: the order in which they are over
//! ```

use super::environment::{KeyRange, Rows, Table, WriteTxn};
use super::rows::{Decoder, Encoder, corrupt, joined};
use crate::core::tables::Result;
use std::ops::Bound;

const BY_NAME: u8 = b'k';
const BY_END: u8 = b'u';

/// A table of rows that are over at some time.
#[derive(Debug, Clone)]
pub(super) struct Expiring {
    pub(super) table: Table,
    pub(super) name: &'static str,
}

impl Expiring {
    /// The bytes kept under `name`; maybe after they are over, until something else is kept.
    pub(super) fn get<'t>(&self, rows: &'t impl Rows, name: [u8; 16]) -> Result<Option<&'t [u8]>> {
        let key = by_name(name);
        let Some(row) = rows.get(&self.table, &key)? else { return Ok(None) };
        self.open(&key, row).map(|(_, bytes)| Some(bytes))
    }

    /// Forgets what is over at `now_ms`, then keeps `bytes` until `until_ms`.
    pub(super) fn keep(
        &self,
        txn: &mut WriteTxn<'_>,
        name: [u8; 16],
        bytes: &[u8],
        (now_ms, until_ms): (u64, u64),
    ) -> Result<()> {
        self.forget(txn, now_ms)?;
        let key = by_name(name);
        if let Some(row) = txn.get(&self.table, &key)? {
            let (before_ms, _) = self.open(&key, row)?;
            txn.delete(&self.table, &by_end(before_ms, name))?;
        }
        let row = Encoder::with_room(8 + bytes.len()).long(until_ms).bytes(bytes).seal(self.name, &key);
        txn.put(&self.table, &key, &row)?;
        txn.put(&self.table, &by_end(until_ms, name), &[])
    }

    /// Whether a row of the table is good and has the other one of its pair.
    pub(super) fn check(&self, rows: &impl Rows, key: &[u8], row: &[u8]) -> Result<()> {
        let name = key.last_chunk::<16>().ok_or_else(|| corrupt(self.name, key, "the key is too short"))?;
        let (other, paired) = match key {
            [BY_NAME, rest @ ..] if rest.len() == 16 => {
                let other = by_end(self.open(key, row)?.0, *name);
                (other.to_vec(), rows.get(&self.table, &other)?.is_some())
            }
            [BY_END, until_ms @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]
                if until_ms.len() == 8 =>
            {
                if !row.is_empty() {
                    return Err(corrupt(self.name, key, "the row is too long"));
                }
                let other = by_name(*name);
                let kept = rows.get(&self.table, &other)?.map(|row| self.open(&other, row)).transpose()?;
                (other.to_vec(), kept.is_some_and(|(kept_ms, _)| kept_ms.to_be_bytes() == until_ms))
            }
            _ => return Err(corrupt(self.name, key, "the key is neither a name nor an end")),
        };
        if paired {
            Ok(())
        } else {
            Err(corrupt(self.name, &other, "the row is missing, or has another end"))
        }
    }

    fn open<'r>(&self, key: &[u8], row: &'r [u8]) -> Result<(u64, &'r [u8])> {
        let mut row = Decoder::open(self.name, key, row)?;
        Ok((row.long()?, row.rest()))
    }

    fn forget(&self, txn: &mut WriteTxn<'_>, now_ms: u64) -> Result<()> {
        let least = by_end(0, [0; 16]);
        let greatest = by_end(now_ms, [0xff; 16]);
        let range: KeyRange<'_> = (Bound::Included(&least), Bound::Included(&greatest));
        let mut names = Vec::new();
        for row in txn.range(&self.table, range)? {
            let (key, _) = row?;
            let name =
                key.last_chunk::<16>().ok_or_else(|| corrupt(self.name, key, "the key is too short"))?;
            names.push(*name);
        }
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            txn.delete(&self.table, &by_name(name))?;
        }
        txn.delete_range(&self.table, range).map(drop)
    }
}

fn by_name(name: [u8; 16]) -> [u8; 17] {
    joined([BY_NAME], name)
}

fn by_end(until_ms: u64, name: [u8; 16]) -> [u8; 25] {
    let end: [u8; 9] = joined([BY_END], until_ms.to_be_bytes());
    joined(end, name)
}
