//! CAR, version 1: blocks in a row, as an answer or a file (<https://ipld.io/specs/transport/car/carv1/>).

use serde::Serialize;

use super::Cid;

#[derive(Serialize)]
struct Header<'a> {
    roots: &'a [Cid],
    version: u64,
}

/// What stands before all blocks.
pub fn header(roots: &[Cid]) -> Vec<u8> {
    let header = serde_ipld_dagcbor::to_vec(&Header { roots, version: 1 });
    let header = header.expect("two fields that CBOR knows");
    [varint(header.len()), header].concat()
}

/// What stands before a block of so many bytes.
pub fn section(cid: &Cid, block_bytes: usize) -> Vec<u8> {
    let cid = cid.to_bytes();
    [varint(cid.len() + block_bytes), cid].concat()
}

fn varint(number: usize) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::usize_buffer();
    unsigned_varint::encode::usize(number, &mut buffer).to_vec()
}
