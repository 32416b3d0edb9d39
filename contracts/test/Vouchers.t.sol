// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Digests} from "./base/Digests.sol";
import {Dollar} from "./base/Dollar.sol";
import {Denier, Wallet} from "./base/Wallet.sol";
import {WithChannels} from "./base/WithChannels.sol";
import {Consent} from "../src/base/Consent.sol";
import {PaymentChannels} from "../src/PaymentChannels.sol";

/// Which vouchers are money, and which are not.
contract VouchersTest is WithChannels {
    uint256 private constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    uint256 private hotKey = keyOf("hot");
    address private hot = accountOf("hot");

    function test_the_digest_is_that_of_the_standard() external view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Blackhole PaymentChannels"),
                keccak256("1"),
                block.chainid,
                address(channels)
            )
        );
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Voucher(address payer,address payee,uint96 cumulative)"), payer, payee, uint96(7)
            )
        );
        bytes32 wanted = keccak256(abi.encodePacked(hex"1901", domain, structHash));
        check(channels.voucherDigest(payer, payee, 7) == wanted, "the digest");
    }

    // ── What is paid ──

    function testFuzz_the_newest_voucher_is_all_there_is_to_claim(uint96 first, uint96 second) external {
        first = uint96(between(first, 1, RESERVED));
        second = uint96(between(second, 1, RESERVED));
        claimAs(payerKey, first);
        checkEqual(channels.freeOf(payee), first, "the first");
        if (second > first) {
            claimAs(payerKey, second);
            checkChannel(RESERVED, second, 0);
            checkEqual(channels.freeOf(payee), second, "the newest");
        } else {
            claimRefused(
                payerKey, second, abi.encodeWithSelector(PaymentChannels.NothingToClaim.selector, second)
            );
        }
    }

    function test_a_voucher_beyond_the_ceiling_is_good_up_to_it() external {
        claimAs(payerKey, RESERVED + 5);
        checkChannel(RESERVED, RESERVED, 0);
        claimRefused(
            payerKey, RESERVED + 5, abi.encodeWithSelector(PaymentChannels.NothingToClaim.selector, RESERVED)
        );
        vm.prank(payer);
        channels.reserve(payee, 3);
        claimAs(payerKey, RESERVED + 5);
        checkEqual(channels.freeOf(payee), RESERVED + 3, "what the new ceiling allows");
    }

    function test_a_claim_during_a_thaw_leaves_the_thaw_running() external {
        vm.prank(payer);
        channels.thaw(payee);
        claimAs(payerKey, 10);
        checkChannel(RESERVED, 10, NOW + THAW);
        channels.claimPacked(payee, entry(payerKey, payer, payee, 20));
        checkChannel(RESERVED, 20, NOW + THAW);
    }

    // ── Replays ──

    function test_a_voucher_of_another_chain_is_refused() external {
        (bytes32 r, bytes32 vs) = signShort(payerKey, channels.voucherDigest(payer, payee, 10));
        vm.chainId(block.chainid + 1);
        refused(payer, payee, 10, r, vs, "");
        vm.chainId(block.chainid - 1);
        channels.claim(payer, payee, 10, r, vs);
    }

    function test_a_voucher_of_another_contract_or_token_is_refused() external {
        PaymentChannels sibling = new PaymentChannels(dollar, THAW);
        (bytes32 r, bytes32 vs) = signShort(payerKey, sibling.voucherDigest(payer, payee, 10));
        refused(payer, payee, 10, r, vs, "");
        // A token is a contract of its own.
        PaymentChannels otherToken = new PaymentChannels(new Dollar(), THAW);
        (r, vs) = signShort(payerKey, otherToken.voucherDigest(payer, payee, 10));
        refused(payer, payee, 10, r, vs, "");
    }

    function test_a_voucher_of_another_channel_is_refused() external {
        address other = accountOf("other payee");
        vm.prank(payer);
        channels.reserve(other, 1_000);
        (bytes32 r, bytes32 vs) = signShort(payerKey, channels.voucherDigest(payer, other, 10));
        refused(payer, payee, 10, r, vs, "");
        channels.claim(payer, other, 10, r, vs);
    }

    function test_a_signer_of_two_payers_binds_each_to_its_own_vouchers() external {
        address second = accountOf("second payer");
        fund(second, 1_000);
        vm.prank(second);
        channels.deposit(second, 1_000);
        vm.prank(second);
        channels.reserve(payee, 1_000);
        vm.prank(payer);
        channels.authorizeSigner(hot);
        vm.prank(second);
        channels.authorizeSigner(hot);
        (bytes32 r, bytes32 vs) = signShort(hotKey, channels.voucherDigest(payer, payee, 10));
        refused(second, payee, 10, r, vs, "");
        channels.claim(payer, payee, 10, r, vs);
    }

    function testFuzz_a_flipped_bit_is_refused(uint96 cumulative, uint256 bit) external {
        cumulative = uint96(between(cumulative, 1, RESERVED));
        bit = between(bit, 0, 767);
        bytes memory good = entry(payerKey, payer, payee, cumulative);
        bytes memory flipped = bytes.concat(good);
        flipped[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        (bytes32 head, bytes32 r, bytes32 vs) = abi.decode(flipped, (bytes32, bytes32, bytes32));
        refused(address(bytes20(head)), payee, uint96(uint256(head)), r, vs, "");
        checkChannel(RESERVED, 0, 0);
        channels.claimPacked(payee, good);
        checkChannel(RESERVED, cumulative, 0);
    }

    function testFuzz_a_strangers_signature_is_refused(uint256 key, uint96 cumulative) external {
        key = between(key, 1, ORDER - 1);
        vm.assume(key != payerKey);
        claimRefused(
            key,
            cumulative,
            abi.encodeWithSelector(PaymentChannels.NotSignedForPayer.selector, payer, vm.addr(key))
        );
    }

    function test_the_twin_of_a_signature_is_refused() external {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, channels.voucherDigest(payer, payee, 10));
        bytes32 twin = bytes32(ORDER - uint256(s));
        // It recovers the same key: only the rule about the lower half refuses it.
        check(
            ecrecover(channels.voucherDigest(payer, payee, 10), v == 27 ? 28 : 27, r, twin) == payer, "a twin"
        );
        // Its s does not fit beside v: the short form has no room for it, whatever one puts there.
        check(uint256(twin) >> 255 == 1, "the twin's s needs the highest bit");
        refused(payer, payee, 10, r, twin, "");
        refused(payer, payee, 10, r, bytes32(uint256(twin) ^ (1 << 255)), "");
        // And what would fit, but lies above the half, is not looked at.
        bytes memory nobody =
            abi.encodeWithSelector(PaymentChannels.NotSignedForPayer.selector, payer, address(0));
        refused(payer, payee, 10, r, bytes32(ORDER / 2 + 1), nobody);
        refused(payer, payee, 10, r, bytes32((ORDER / 2 + 1) | (1 << 255)), nobody);
    }

    function test_no_signature_speaks_for_the_account_zero() external {
        dollar.mint(address(this), 1_000);
        dollar.approve(address(channels), 1_000);
        channels.deposit(address(0xdead), 1_000);
        refused(
            address(0),
            payee,
            10,
            bytes32(0),
            bytes32(0),
            abi.encodeWithSelector(PaymentChannels.NotSignedForPayer.selector, address(0), address(0))
        );
        refused(payer, payee, 10, bytes32(0), bytes32(0), "");
    }

    // ── Hot signers ──

    function test_a_hot_signer_signs_until_its_revocation_has_thawed() external {
        claimRefused(
            hotKey, 10, abi.encodeWithSelector(PaymentChannels.NotSignedForPayer.selector, payer, hot)
        );
        vm.prank(payer);
        channels.authorizeSigner(hot);
        claimAs(hotKey, 10);
        vm.prank(payer);
        channels.revokeSigner(hot);
        checkEqual(channels.signerGoodUntil(payer, hot), NOW + THAW, "until when it is good");
        claimAs(hotKey, 20);
        vm.warp(NOW + THAW - 1);
        channels.claimPacked(payee, entry(hotKey, payer, payee, 30));
        vm.warp(NOW + THAW);
        claimRefused(
            hotKey, 40, abi.encodeWithSelector(PaymentChannels.NotSignedForPayer.selector, payer, hot)
        );
        // The payer's own key was never in question.
        claimAs(payerKey, 40);
    }

    function test_a_revocation_cannot_be_hurried_or_repeated() external {
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.SignerNotActive.selector, hot));
        vm.prank(payer);
        channels.revokeSigner(hot);
        vm.prank(payer);
        channels.authorizeSigner(hot);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.SignerAlreadyActive.selector, hot));
        vm.prank(payer);
        channels.authorizeSigner(hot);
        vm.prank(payer);
        channels.revokeSigner(hot);
        vm.warp(NOW + 10);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.SignerNotActive.selector, hot));
        vm.prank(payer);
        channels.revokeSigner(hot);
        checkEqual(channels.signerGoodUntil(payer, hot), NOW + THAW, "as it was");
        vm.prank(payer);
        channels.authorizeSigner(hot);
        vm.warp(NOW + 10 * THAW);
        claimAs(hotKey, 10);
    }

    function test_only_the_payer_names_its_signers() external {
        vm.prank(hot);
        channels.authorizeSigner(hot);
        claimRefused(
            hotKey, 10, abi.encodeWithSelector(PaymentChannels.NotSignedForPayer.selector, payer, hot)
        );
        vm.expectRevert(PaymentChannels.ZeroAddress.selector);
        channels.authorizeSigner(address(0));
    }

    function test_a_signer_is_named_by_signature_once() external {
        bytes memory signature = signLong(payerKey, Digests.authorization(channels, payer, hot, 0, NOW + 5));
        vm.warp(NOW + 6);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.SignatureExpired.selector, NOW + 5));
        channels.authorizeSignerBySignature(payer, hot, NOW + 5, signature);
        vm.warp(NOW + 5);
        vm.expectRevert(abi.encodeWithSelector(Consent.NotSignedBy.selector, payer));
        channels.authorizeSignerBySignature(payer, payee, NOW + 5, signature);
        channels.authorizeSignerBySignature(payer, hot, NOW + 5, signature);
        claimAs(hotKey, 10);
        vm.prank(payer);
        channels.revokeSigner(hot);
        // Whoever kept the signature cannot undo the revocation with it.
        vm.expectRevert(abi.encodeWithSelector(Consent.NotSignedBy.selector, payer));
        channels.authorizeSignerBySignature(payer, hot, NOW + 5, signature);
    }

    // ── Accounts that are, or become, contracts ──

    function test_a_wallet_that_is_a_contract_pays_by_a_hot_signer() external {
        Wallet wallet = new Wallet(payer);
        fund(address(wallet), 1_000);
        wallet.call(address(channels), abi.encodeCall(channels.deposit, (address(wallet), 1_000)));
        wallet.call(address(channels), abi.encodeCall(channels.reserve, (payee, 1_000)));
        // The owner's key does not sign vouchers for the wallet: the wallet could void them by changing owners.
        (bytes32 r, bytes32 vs) = signShort(payerKey, channels.voucherDigest(address(wallet), payee, 10));
        refused(address(wallet), payee, 10, r, vs, "");
        bytes memory signature =
            signLong(payerKey, Digests.authorization(channels, address(wallet), hot, 0, NOW));
        channels.authorizeSignerBySignature(address(wallet), hot, NOW, signature);
        wallet.setOwner(address(1));
        (r, vs) = signShort(hotKey, channels.voucherDigest(address(wallet), payee, 10));
        channels.claim(address(wallet), payee, 10, r, vs);
        checkEqual(channels.freeOf(payee), 10, "paid, whoever owns the wallet now");
        signature =
            signLong(payerKey, Digests.authorization(channels, address(wallet), accountOf("other"), 1, NOW));
        vm.expectRevert(abi.encodeWithSelector(Consent.NotSignedBy.selector, address(wallet)));
        channels.authorizeSignerBySignature(address(wallet), accountOf("other"), NOW, signature);
    }

    function test_code_in_the_payers_account_voids_nothing() external {
        (bytes32 r, bytes32 vs) = signShort(payerKey, channels.voucherDigest(payer, payee, 10));
        bytes memory authorization = signLong(payerKey, Digests.authorization(channels, payer, hot, 0, NOW));
        vm.signAndAttachDelegation(address(new Denier()), payerKey);
        checkEqual(payer.code.length, 23, "the account carries code");
        channels.claim(payer, payee, 10, r, vs);
        channels.claimPacked(payee, entry(payerKey, payer, payee, 20));
        channels.authorizeSignerBySignature(payer, hot, NOW, authorization);
        claimAs(hotKey, 30);
        checkChannel(RESERVED, 30, 0);
    }

    // ── Batches ──

    function test_a_batch_wants_whole_entries_and_not_too_many() external {
        bytes memory packed = entry(payerKey, payer, payee, 10);
        uint256 most = channels.VOUCHERS_MAX();
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.PackedLengthWrong.selector, 97));
        channels.claimPacked(payee, bytes.concat(packed, hex"00"));
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.TooMany.selector, most + 1, most));
        channels.claimPacked(payee, new bytes(96 * (most + 1)));
        vm.expectRevert(PaymentChannels.NoVoucherGood.selector);
        channels.claimPacked(payee, new bytes(96 * most));
        vm.expectRevert(PaymentChannels.NoVoucherGood.selector);
        channels.claimPacked(payee, "");
    }

    event BatchClaimed(address indexed payee, uint256 amount, bytes accepted);

    function test_a_bad_voucher_does_not_spoil_the_others() external {
        address second = accountOf("second payer");
        fund(second, 1_000);
        vm.prank(second);
        channels.deposit(second, 1_000);
        vm.prank(second);
        channels.reserve(payee, 1_000);
        bytes memory packed = bytes.concat(
            entry(hotKey, payer, payee, 10), // nobody named this signer
            entry(payerKey, payer, payee, 20),
            entry(payerKey, payer, payee, 15), // older
            entry(keyOf("third"), accountOf("third"), payee, 9), // reserved nothing
            entry(keyOf("second payer"), second, payee, 2_000) // beyond the ceiling
        );
        bytes memory accepted = abi.encodePacked(payer, uint96(20), second, uint96(1_000));
        vm.expectEmit(true, true, true, true);
        emit BatchClaimed(payee, 1_020, accepted);
        checkEqual(channels.claimPacked(payee, packed), 1_020, "the sum");
        checkEqual(channels.freeOf(payee), 1_020, "free");
        checkChannel(RESERVED, 20, 0);
        channels.claimPacked(payee, entry(payerKey, payer, payee, 25));
        checkEqual(channels.freeOf(payee), 1_025, "what was free before stays");
    }

    /// The batch is written in another language than the single claim: they must say the same of every voucher.
    function testFuzz_a_batch_does_what_single_claims_do(uint256 seed) external {
        (uint256[3] memory keys, bytes memory packed) = ([payerKey, hotKey, keyOf("stranger")], bytes(""));
        vm.prank(payer);
        channels.authorizeSigner(hot);
        if (seed & 1 == 1) {
            vm.prank(payer);
            channels.revokeSigner(hot);
            vm.warp(NOW + (seed >> 8) % (2 * THAW));
        }
        uint256 count = between(seed >> 16, 1, 12);
        for (uint256 index = 0; index < count; ++index) {
            uint256 random = uint256(keccak256(abi.encode(seed, index)));
            bytes memory one =
                entry(keys[random % 3], payer, payee, uint96((random >> 8) % (RESERVED + RESERVED / 4)));
            if (random >> 200 & 7 == 0) one[(random >> 208) % 96] ^= 0x10;
            packed = bytes.concat(packed, one);
        }
        bytes memory untouched = abi.encodeCall(channels.claimPacked, (payee, packed));
        (bool batchGood, bytes memory answer) = address(this).call(abi.encodeCall(this.tryBatch, (untouched)));
        check(!batchGood, "a trial always undoes itself");
        (uint256 batched, uint256 claimed) = abi.decode(answer, (uint256, uint256));
        for (uint256 index = 0; index < count; ++index) {
            (bytes32 head, bytes32 r, bytes32 vs) = entryAt(packed, index);
            try channels.claim(address(bytes20(head)), payee, uint96(uint256(head)), r, vs) {} catch {}
        }
        checkEqual(batched, channels.freeOf(payee), "what the payee has");
        checkEqual(claimed, channels.channelOf(payer, payee).claimed, "what was claimed");
    }

    /// Runs a batch, reports by reverting, and so leaves nothing behind.
    function tryBatch(bytes calldata call_) external {
        (bool success,) = address(channels).call(call_);
        bytes memory report =
            abi.encode(channels.freeOf(payee), channels.channelOf(payer, payee).claimed, success);
        assembly {
            revert(add(report, 32), mload(report))
        }
    }

    function entryAt(bytes memory packed, uint256 index)
        private
        pure
        returns (bytes32 head, bytes32 r, bytes32 vs)
    {
        assembly {
            let start := add(add(packed, 32), mul(index, 96))
            head := mload(start)
            r := mload(add(start, 32))
            vs := mload(add(start, 64))
        }
    }
}
