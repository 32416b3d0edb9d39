// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Checks vouchers and moves channels forward: the innermost part of `PaymentChannels`, and the one that runs most.
///
/// It is in assembly because a batch pays for everything here a hundred times: the compiler's own way costs a
/// tenth more. A test claims the same vouchers singly and in a batch, and compares.
library Vouchers {
    /// A channel as it is stored, read once and written once: the thaw's time in the highest 64 bits, the ceiling in
    /// the next 96, what was claimed in the lowest.
    struct Word {
        uint256 value;
    }

    bytes32 internal constant TYPEHASH = keccak256("Voucher(address payer,address payee,uint96 cumulative)");

    /// A packed voucher: payer (20 bytes), cumulative (12), r (32), v and s as ERC-2098 says (32).
    uint256 internal constant PACKED_BYTES = 96;

    /// Half the order of secp256k1: of two values of s that say the same, the lower one counts.
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    uint256 private constant LOW_255_BITS =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF;
    uint256 private constant LOW_96_BITS = 0xFFFFFFFFFFFFFFFFFFFFFFFF;

    /// What a voucher's signer signs, by EIP-712.
    function digest(bytes32 domain, address payer, address payee, uint96 cumulative)
        internal
        pure
        returns (bytes32 hash)
    {
        bytes32 typehash = TYPEHASH;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            mstore(add(free, 0x20), payer)
            mstore(add(free, 0x40), payee)
            mstore(add(free, 0x60), cumulative)
            mstore(add(free, 0x22), keccak256(free, 0x80))
            mstore(free, shl(240, 0x1901))
            mstore(add(free, 0x02), domain)
            hash := keccak256(free, 0x42)
        }
    }

    /// Who signed, or zero: where the signature is none, or the higher one of the two that say the same.
    function recover(bytes32 hash, bytes32 r, bytes32 vs) internal view returns (address recovered) {
        uint256 s = uint256(vs) & LOW_255_BITS;
        if (s > HALF_ORDER) return address(0);
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, hash)
            mstore(add(free, 0x20), add(shr(255, vs), 27))
            mstore(add(free, 0x40), r)
            mstore(add(free, 0x60), s)
            // The precompile answers with nothing where it recovers nobody.
            mstore(0, 0)
            pop(staticcall(gas(), 1, free, 0x80, 0, 0x20))
            recovered := mload(0)
        }
    }

    /// Whether a key may sign for a payer now. The payer's own always may, whatever code its account carries.
    function mayPay(
        mapping(address payer => mapping(address signer => uint64 time)) storage goodUntil,
        address payer,
        address recovered
    ) internal view returns (bool) {
        if (recovered == address(0)) return false;
        return recovered == payer || block.timestamp < goodUntil[payer][recovered];
    }

    /// Raises what was claimed to a total, at most to the ceiling; says to what, and by how much.
    function advance(Word storage word, uint256 cumulative) internal returns (uint256 upTo, uint256 more) {
        uint256 value = word.value;
        uint256 ceiling = uint96(value >> 96);
        upTo = cumulative > ceiling ? ceiling : cumulative;
        uint256 claimed = uint96(value);
        if (upTo <= claimed) return (upTo, 0);
        unchecked {
            more = upTo - claimed;
            word.value = value + more;
        }
    }

    /// `digest`, `recover`, `mayPay` and `advance` for each entry of a batch of one payee; an entry that is not good,
    /// or says nothing new, is passed over. Returns the sum, and for each good entry the payer and its new total
    /// in one word. The caller has seen that the length is a multiple of an entry's and that the sum of so many
    /// amounts of 96 bits cannot overflow.
    function advanceAll(
        mapping(address payer => Word) storage channels,
        mapping(address payer => mapping(address signer => uint64 time)) storage goodUntil,
        bytes32 domain,
        address payee,
        bytes calldata packed
    ) internal returns (uint256 amount, bytes memory accepted) {
        bytes32 typehash = TYPEHASH;
        uint256 scratch;
        assembly ("memory-safe") {
            // One place for all digests, where what they share is written once: the struct (0x80 bytes), the digest's
            // 0x42 bytes from 0x80 on, the precompile's question from 0xe0 on. Behind it grows what is returned.
            scratch := mload(0x40)
            accepted := add(scratch, 0x160)
            mstore(scratch, typehash)
            mstore(add(scratch, 0x40), payee)
            mstore(add(scratch, 0x80), shl(240, 0x1901))
            mstore(add(scratch, 0x82), domain)
        }
        assembly ("memory-safe") {
            let written := add(accepted, 0x20)
            let end := add(packed.offset, packed.length)
            for { let entry := packed.offset } lt(entry, end) { entry := add(entry, PACKED_BYTES) } {
                let payer := shr(96, calldataload(entry))
                let upTo := and(calldataload(entry), LOW_96_BITS)
                let vs := calldataload(add(entry, 0x40))
                let s := and(vs, LOW_255_BITS)
                if gt(s, HALF_ORDER) { continue }

                mstore(add(scratch, 0x20), payer)
                mstore(add(scratch, 0x60), upTo)
                mstore(add(scratch, 0xa2), keccak256(scratch, 0x80))
                mstore(add(scratch, 0xe0), keccak256(add(scratch, 0x80), 0x42))
                mstore(add(scratch, 0x100), add(shr(255, vs), 27))
                mstore(add(scratch, 0x120), calldataload(add(entry, 0x20)))
                mstore(add(scratch, 0x140), s)
                mstore(0, 0)
                pop(staticcall(gas(), 1, add(scratch, 0xe0), 0x80, 0, 0x20))
                let recovered := mload(0)

                if iszero(eq(recovered, payer)) {
                    if iszero(recovered) { continue }
                    mstore(0, payer)
                    mstore(0x20, goodUntil.slot)
                    mstore(0x20, keccak256(0, 0x40))
                    mstore(0, recovered)
                    if iszero(lt(timestamp(), sload(keccak256(0, 0x40)))) { continue }
                }
                // A payer of zero has signed nothing: what recovers nobody equals it.
                if iszero(payer) { continue }

                mstore(0, payer)
                mstore(0x20, channels.slot)
                let word := keccak256(0, 0x40)
                let value := sload(word)
                let ceiling := and(shr(96, value), LOW_96_BITS)
                if gt(upTo, ceiling) { upTo := ceiling }
                let claimed := and(value, LOW_96_BITS)
                if iszero(gt(upTo, claimed)) { continue }
                let more := sub(upTo, claimed)
                sstore(word, add(value, more))
                amount := add(amount, more)
                mstore(written, or(shl(96, payer), upTo))
                written := add(written, 0x20)
            }
            mstore(accepted, sub(sub(written, accepted), 0x20))
            mstore(0x40, written)
        }
    }
}
