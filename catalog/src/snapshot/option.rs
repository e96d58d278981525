//! DHCP options that operators give: from a row's text to the bytes of a packet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use rusqlite::{Connection, Row};

use super::read::{RowResult, good_rows, row_try};
use super::{DhcpOption, Problem};

/// All options that make sense, by scope and owner.
#[derive(Debug, Default)]
pub(super) struct Options(BTreeMap<(String, String), Vec<DhcpOption>>);

impl Options {
    /// The options of one owner, sorted by code.
    pub(super) fn take(&mut self, scope: &str, owner: &str) -> Vec<DhcpOption> {
        let key = (scope.to_owned(), owner.to_owned());
        self.0.remove(&key).unwrap_or_default()
    }
}

// The name by which a problem tells of the row comes first.
const OPTIONS: &str = "
    SELECT code || ' of ' || scope || ' ' || owner, scope, owner, code, type, value, always,
           CASE scope WHEN 'network' THEN EXISTS (SELECT 1 FROM network WHERE name = owner)
                      WHEN 'class' THEN EXISTS (SELECT 1 FROM class WHERE name = owner)
                      ELSE EXISTS (SELECT 1 FROM node WHERE name = owner) END AS owned
    FROM dhcp_option ORDER BY scope, owner, code";

pub(super) fn read(db: &Connection, problems: &mut Vec<Problem>) -> rusqlite::Result<Options> {
    let rows = good_rows(db, "dhcp_option", OPTIONS, problems, option)?;
    let mut options = Options::default();
    for (owner, option) in rows {
        options.0.entry(owner).or_default().push(option);
    }
    Ok(options)
}

type Owned = ((String, String), DhcpOption);

fn option(row: &Row<'_>) -> rusqlite::Result<RowResult<Owned>> {
    let kind: String = row.get("type")?;
    let value: String = row.get("value")?;
    let code: i64 = row.get("code")?;
    let option = DhcpOption {
        code: row_try!(code_of(code)),
        bytes: row_try!(content(&kind, &value)),
        always: row.get("always")?,
    };
    let (scope, owner): (String, String) = (row.get("scope")?, row.get("owner")?);
    if !row.get::<_, bool>("owned")? {
        return Ok(Err(format!("no {scope} has this name")));
    }
    Ok(Ok(((scope, owner), option)))
}

/// The options that the server itself controls are none that an operator gives.
fn code_of(code: i64) -> RowResult<u8> {
    match u8::try_from(code) {
        Ok(0 | 255) | Err(_) => Err(format!("code {code} is not from 1 to 254")),
        Ok(50..=55 | 57..=59 | 61 | 82) => Err(format!("bootd sets option {code} itself")),
        Ok(code) => Ok(code),
    }
}

/// The bytes of a value.
fn content(kind: &str, value: &str) -> RowResult<Vec<u8>> {
    let bytes = match kind {
        "ip" => list(value, |ip: Ipv4Addr| ip.octets()),
        "u8" => list(value, u8::to_be_bytes),
        "u16" => list(value, u16::to_be_bytes),
        "u32" => list(value, u32::to_be_bytes),
        "text" => Some(value.as_bytes().to_vec()),
        "hex" => hex(value),
        other => return Err(format!("type is {other:?}")),
    };
    let bytes = bytes.ok_or_else(|| format!("value {value:?} is not of type {kind}"))?;
    match bytes.len() {
        1..=255 => Ok(bytes),
        length => Err(format!("value is {length} bytes long, not 1 to 255")),
    }
}

fn list<T: FromStr, const N: usize>(value: &str, bytes: impl Fn(T) -> [u8; N]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for part in value.split(',') {
        all.extend(bytes(part.trim().parse().ok()?));
    }
    Some(all)
}

fn hex(value: &str) -> Option<Vec<u8>> {
    let digits = value.chars().map(|digit| digit.to_digit(16));
    let digits: Vec<u32> = digits.collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    pairs.collect()
}
