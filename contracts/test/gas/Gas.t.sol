// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "../base/Checks.sol";
import {Dollar} from "../base/Dollar.sol";
import {PaymentChannels} from "../../src/PaymentChannels.sol";
import {PaymentManager} from "../../src/PaymentManager.sol";
import {Payouts} from "../../src/Payouts.sol";
import {ReputationAnchor} from "../../src/ReputationAnchor.sol";
import {StakeRegistry} from "../../src/StakeRegistry.sol";

/// What each act costs as a transaction of its own: true with `--isolate` only, and refused without it.
///
/// Figures go to `snapshots/`, which the suite compares; the limits here are what was promised. Beside them: x402
/// publishes 40,252 for a claim of one channel and 192,043 for ten.
contract GasTest is Checks {
    uint64 private constant DAY = 1 days;
    uint96 private constant RESERVED = 50_000_000;

    Dollar private dollar;
    PaymentChannels private channels;
    PaymentManager private manager;
    Payouts private payouts;
    ReputationAnchor private reputation;
    StakeRegistry private stakes;

    address private payer;
    address private payee;
    uint256 private hotKey;

    function setUp() external {
        vm.warp(NOW);
        dollar = new Dollar();
        channels = new PaymentChannels(dollar, DAY);
        manager = new PaymentManager(dollar);
        payouts = new Payouts(dollar);
        reputation = new ReputationAnchor(DAY);
        stakes = new StakeRegistry(dollar, accountOf("judge"), accountOf("commons"), 1_000_000);
        payer = accountOf("payer");
        payee = accountOf("payee");
        hotKey = keyOf("hot signer");
        _fund(payer);
        // The contracts and the payee have been used before: nobody pays for the first of everything.
        dollar.mint(address(channels), 1);
        dollar.mint(address(manager), 1);
        dollar.mint(address(payouts), 1);
        dollar.mint(address(stakes), 1);
        dollar.mint(payee, 1);
        vm.prank(payer);
        channels.deposit(payee, 1);
    }

    function test_a_packed_claim_of_a_hundred_by_hot_keys() external {
        uint256 gas = _packedClaim(100, true, "claimPacked 100, hot signers");
        checkAtMost(gas, 100 * 13_500, "a packed claim, for each of 100");
    }

    function test_a_packed_claim_of_a_hundred_by_payers_own_keys() external {
        uint256 gas = _packedClaim(100, false, "claimPacked 100, payers' own keys");
        checkAtMost(gas, 100 * 13_500, "a packed claim, for each of 100");
    }

    function test_a_packed_claim_of_ten() external {
        uint256 gas = _packedClaim(10, true, "claimPacked 10, hot signers");
        checkAtMost(gas, 192_043, "ten channels, as x402 publishes it");
    }

    function test_a_thousand_channels_in_two_transactions() external {
        uint256 before = channels.freeOf(payee);
        for (uint256 half = 0; half < 2; ++half) {
            bytes memory packed = new bytes(500 * 96);
            for (uint256 index = 0; index < 500; ++index) {
                address account = vm.addr(uint256(keccak256(abi.encode("payer", 500 * half + index))));
                _openChannel(account);
                _write(packed, index, _entry(account, hotKey, 1_000_000));
            }
            channels.claimPacked(payee, packed);
            uint256 gas = vm.snapshotGasLastCall("PaymentChannels", "claimPacked 500, hot signers");
            checkAtMost(gas, 33_500_000 / 2, "half of what a transaction may spend on Polygon");
        }
        checkEqual(channels.freeOf(payee) - before, 1_000 * 1_000_000, "every voucher was paid");
    }

    function test_a_later_claim_of_one() external {
        _openChannel(payer);
        _claim(1_000);
        uint256 gas = _claim(2_000);
        checkAtMost(gas, 42_500, "claim(1) later");
    }

    function test_twenty_reservations_at_once() external {
        vm.prank(payer);
        channels.deposit(payer, 20 * RESERVED + 1);
        PaymentChannels.Reservation[] memory reservations = new PaymentChannels.Reservation[](20);
        for (uint256 index = 0; index < 20; ++index) {
            reservations[index] =
                PaymentChannels.Reservation(vm.addr(uint256(keccak256(abi.encode(index)))), RESERVED);
        }
        vm.prank(payer);
        channels.reserveMany(reservations);
        uint256 gas = vm.snapshotGasLastCall("PaymentChannels", "reserveMany 20");
        checkAtMost(gas, 535_000, "reserveMany(20)");
    }

    function test_deposit_and_withdrawal() external {
        vm.prank(payer);
        channels.deposit(payer, RESERVED);
        vm.snapshotGasLastCall("PaymentChannels", "deposit, first");
        vm.prank(payer);
        channels.withdraw(payer, RESERVED / 2);
        vm.snapshotGasLastCall("PaymentChannels", "withdraw");
    }

    function test_escrow_from_creation_to_payment() external {
        PaymentManager.Terms memory terms = PaymentManager.Terms({
            provider: payee,
            amount: RESERVED,
            arbiter: accountOf("arbiter"),
            deliverBy: uint64(NOW) + DAY,
            reviewSeconds: uint32(DAY),
            ruleSeconds: uint32(DAY),
            silenceShare: 5_000,
            specification: keccak256("what to do")
        });
        vm.prank(payer);
        bytes32 job = manager.create(terms, keccak256("salt"));
        uint256 created = vm.snapshotGasLastCall("PaymentManager", "create");
        vm.prank(payee);
        manager.deliver(job, keccak256("result"));
        uint256 delivered = vm.snapshotGasLastCall("PaymentManager", "deliver");
        vm.prank(payer);
        manager.accept(job, keccak256("result"));
        uint256 accepted = vm.snapshotGasLastCall("PaymentManager", "accept");
        uint256 total = created + delivered + accepted;
        vm.snapshotValue("PaymentManager", "happy path", total);
        checkAtMost(total, 250_000, "escrow's happy path");
    }

    function test_payout_and_share() external {
        bytes32 sibling = keccak256("another leaf");
        bytes32 leaf = payouts.leafOf(payer, 7, 0, payee, 1_000);
        bytes32 root =
            leaf < sibling ? keccak256(abi.encode(leaf, sibling)) : keccak256(abi.encode(sibling, leaf));
        vm.prank(payer);
        payouts.open(7, root, RESERVED, uint64(NOW) + 30 * DAY);
        vm.snapshotGasLastCall("Payouts", "open");
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = sibling;
        payouts.claim(payer, 7, Payouts.Share(0, payee, 1_000, proof));
        vm.snapshotGasLastCall("Payouts", "claim");
    }

    function test_stake_of_a_node() external {
        vm.prank(payer);
        bytes32 node = stakes.register(keccak256("key"), new bytes(64), "did:key:z6MkNode", 1);
        vm.snapshotGasLastCall("StakeRegistry", "register");
        vm.prank(payer);
        stakes.stake(node, RESERVED);
        vm.snapshotGasLastCall("StakeRegistry", "stake");
    }

    function test_anchor_of_an_epoch() external {
        reputation.anchor(uint64(NOW / DAY) - 1, keccak256("root"), keccak256("receipts"));
        vm.snapshotGasLastCall("ReputationAnchor", "anchor");
    }

    function test_each_contract_is_small() external {
        _size("PaymentChannels", address(channels));
        _size("PaymentManager", address(manager));
        _size("Payouts", address(payouts));
        _size("ReputationAnchor", address(reputation));
        _size("StakeRegistry", address(stakes));
    }

    function _size(string memory name, address contract_) private {
        vm.snapshotValue("sizes", name, contract_.code.length);
        checkAtMost(contract_.code.length, 9_999, name);
    }

    function _fund(address account) private {
        dollar.mint(account, 1e15);
        vm.prank(account);
        dollar.approve(address(channels), type(uint256).max);
        vm.prank(account);
        dollar.approve(address(manager), type(uint256).max);
        vm.prank(account);
        dollar.approve(address(payouts), type(uint256).max);
        vm.prank(account);
        dollar.approve(address(stakes), type(uint256).max);
    }

    function _openChannel(address account) private {
        vm.prank(payer);
        channels.deposit(account, RESERVED);
        vm.prank(account);
        channels.reserve(payee, RESERVED);
        vm.prank(account);
        channels.authorizeSigner(vm.addr(hotKey));
    }

    function _claim(uint96 cumulative) private returns (uint256) {
        (bytes32 r, bytes32 vs) = signShort(hotKey, channels.voucherDigest(payer, payee, cumulative));
        channels.claim(payer, payee, cumulative, r, vs);
        return vm.snapshotGasLastCall("PaymentChannels", "claim, later, hot signer");
    }

    /// Each channel was claimed before, as most are.
    function _packedClaim(uint256 count, bool hot, string memory name) private returns (uint256 gas) {
        bytes memory first = new bytes(count * 96);
        bytes memory second = new bytes(count * 96);
        for (uint256 index = 0; index < count; ++index) {
            uint256 key = uint256(keccak256(abi.encode("payer", index)));
            _openChannel(vm.addr(key));
            uint256 signer = hot ? hotKey : key;
            _write(first, index, _entry(vm.addr(key), signer, 1_000_000));
            _write(second, index, _entry(vm.addr(key), signer, uint96(RESERVED - index)));
        }
        channels.claimPacked(payee, first);
        uint256 before = channels.freeOf(payee);
        channels.claimPacked(payee, second);
        gas = vm.snapshotGasLastCall("PaymentChannels", name);
        uint256 wanted = count * (RESERVED - 1_000_000) - count * (count - 1) / 2;
        checkEqual(channels.freeOf(payee) - before, wanted, "every voucher was paid");
    }

    function _write(bytes memory packed, uint256 index, bytes memory entry) private pure {
        assembly {
            mcopy(add(add(packed, 32), mul(index, 96)), add(entry, 32), 96)
        }
    }

    function _entry(address account, uint256 key, uint96 cumulative) private view returns (bytes memory) {
        (bytes32 r, bytes32 vs) = signShort(key, channels.voucherDigest(account, payee, cumulative));
        return abi.encodePacked(account, cumulative, r, vs);
    }
}
