// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "./Checks.sol";
import {Dollar} from "./Dollar.sol";
import {PaymentChannels} from "../../src/PaymentChannels.sol";

/// A payer, a payee, and a channel between them.
abstract contract WithChannels is Checks {
    uint64 internal constant THAW = 1 days;
    uint96 internal constant RESERVED = 1_000_000;

    Dollar internal dollar;
    PaymentChannels internal channels;
    uint256 internal payerKey = keyOf("payer");
    address internal payer = accountOf("payer");
    address internal payee = accountOf("payee");

    function setUp() public virtual {
        vm.warp(NOW);
        dollar = new Dollar();
        channels = new PaymentChannels(dollar, THAW);
        fund(payer, 10 * RESERVED);
        vm.prank(payer);
        channels.deposit(payer, 3 * RESERVED);
        vm.prank(payer);
        channels.reserve(payee, RESERVED);
    }

    function fund(address account, uint256 amount) internal {
        dollar.mint(account, amount);
        vm.prank(account);
        dollar.approve(address(channels), type(uint256).max);
    }

    function claimAs(uint256 key, uint96 cumulative) internal {
        (bytes32 r, bytes32 vs) = signShort(key, channels.voucherDigest(payer, payee, cumulative));
        channels.claim(payer, payee, cumulative, r, vs);
    }

    /// A claim that must be refused so, and leave everything as it was.
    function claimRefused(uint256 key, uint96 cumulative, bytes memory refusal) internal {
        (bytes32 r, bytes32 vs) = signShort(key, channels.voucherDigest(payer, payee, cumulative));
        refused(payer, payee, cumulative, r, vs, refusal);
    }

    function refused(address from, address to, uint96 cumulative, bytes32 r, bytes32 vs, bytes memory refusal)
        internal
    {
        bytes32 before = stateOf(from, to);
        (bool success, bytes memory answer) =
            address(channels).call(abi.encodeCall(channels.claim, (from, to, cumulative, r, vs)));
        check(!success, "the voucher is refused");
        if (refusal.length > 0) check(keccak256(answer) == keccak256(refusal), "for the right reason");
        (success, answer) = address(channels)
            .call(abi.encodeCall(channels.claimPacked, (to, abi.encodePacked(from, cumulative, r, vs))));
        check(!success, "in a batch too");
        check(bytes4(answer) == PaymentChannels.NoVoucherGood.selector, "as one that is not good");
        check(stateOf(from, to) == before, "nothing has changed");
    }

    function stateOf(address from, address to) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                channels.channelOf(from, to),
                channels.freeOf(from),
                channels.freeOf(to),
                dollar.balanceOf(address(channels))
            )
        );
    }

    function entry(uint256 key, address from, address to, uint96 cumulative)
        internal
        view
        returns (bytes memory)
    {
        (bytes32 r, bytes32 vs) = signShort(key, channels.voucherDigest(from, to, cumulative));
        return abi.encodePacked(from, cumulative, r, vs);
    }

    function checkChannel(uint256 ceiling, uint256 claimed, uint256 thawedAt) internal view {
        PaymentChannels.Channel memory channel = channels.channelOf(payer, payee);
        checkEqual(channel.ceiling, ceiling, "ceiling");
        checkEqual(channel.claimed, claimed, "claimed");
        checkEqual(channel.thawedAt, thawedAt, "thawedAt");
    }
}
