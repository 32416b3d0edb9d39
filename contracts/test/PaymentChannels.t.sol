// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Dollar} from "./base/Dollar.sol";
import {WithChannels} from "./base/WithChannels.sol";
import {PaymentChannels} from "../src/PaymentChannels.sol";

contract PaymentChannelsTest is WithChannels {
    function test_deployment_wants_a_token_and_a_thaw_within_bounds() external {
        vm.expectRevert(PaymentChannels.ZeroAddress.selector);
        new PaymentChannels(Dollar(address(0)), THAW);
        uint64 least = channels.THAW_SECONDS_MIN();
        uint64 most = channels.THAW_SECONDS_MAX();
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.ThawSecondsOutOfBounds.selector, least - 1));
        new PaymentChannels(dollar, least - 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.ThawSecondsOutOfBounds.selector, most + 1));
        new PaymentChannels(dollar, most + 1);
        checkEqual(new PaymentChannels(dollar, least).thawSeconds(), least, "the least is allowed");
        checkEqual(new PaymentChannels(dollar, most).thawSeconds(), most, "the most is allowed");
    }

    // ── Money in and out ──

    function test_deposit_credits_whom_it_names() external {
        vm.prank(payer);
        channels.deposit(payee, 5);
        checkEqual(channels.freeOf(payee), 5, "the payee's free balance");
        checkEqual(dollar.balanceOf(payer), 7 * RESERVED - 5, "what the payer has left");
        vm.expectRevert(PaymentChannels.ZeroAddress.selector);
        channels.deposit(address(0), 5);
        vm.expectRevert(PaymentChannels.ZeroAmount.selector);
        channels.deposit(payee, 0);
    }

    function test_withdrawal_goes_where_the_owner_says_and_no_further_than_it_owns() external {
        address to = accountOf("elsewhere");
        vm.prank(payer);
        channels.withdraw(to, 2 * RESERVED);
        checkEqual(dollar.balanceOf(to), 2 * RESERVED, "what arrived");
        checkEqual(channels.freeOf(payer), 0, "what is free");
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.FreeTooLow.selector, 0, 1));
        vm.prank(payer);
        channels.withdraw(to, 1);
        vm.expectRevert(PaymentChannels.ZeroAmount.selector);
        vm.prank(payer);
        channels.withdraw(to, 0);
    }

    function test_nothing_is_withdrawn_into_the_contract_itself() external {
        vm.expectRevert();
        vm.prank(payer);
        channels.withdraw(address(channels), 1);
    }

    function test_deposit_by_permit() external {
        uint256 key = keyOf("permitting");
        address owner = vm.addr(key);
        dollar.mint(owner, 100);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, dollar.permitDigest(owner, address(channels), 100, NOW + 1));
        // Somebody hands the permit in first: the deposit must not fail for that.
        dollar.permit(owner, address(channels), 100, NOW + 1, v, r, s);
        vm.prank(owner);
        channels.depositWithPermit(60, NOW + 1, v, r, s);
        checkEqual(channels.freeOf(owner), 60, "free");
        // Nobody else can use the allowance that is left.
        vm.expectRevert();
        channels.depositWithPermit(40, NOW + 1, v, r, s);
        vm.expectRevert(PaymentChannels.ZeroAmount.selector);
        vm.prank(owner);
        channels.depositWithPermit(0, NOW + 1, v, r, s);
    }

    function test_deposit_by_permit_that_nobody_handed_in_before() external {
        uint256 key = keyOf("permitting");
        address owner = vm.addr(key);
        dollar.mint(owner, 100);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, dollar.permitDigest(owner, address(channels), 100, NOW + 1));
        vm.prank(owner);
        channels.depositWithPermit(100, NOW + 1, v, r, s);
        checkEqual(channels.freeOf(owner), 100, "free");
    }

    function test_deposit_by_authorisation_binds_the_payee() external {
        uint256 key = keyOf("authorising");
        address from = vm.addr(key);
        dollar.mint(from, 100);
        bytes32 nonce = keccak256(abi.encode(payee, bytes32("salt")));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, dollar.receiveDigest(from, address(channels), 100, NOW + 1, nonce));
        // A watcher of the pool cannot turn it to itself, nor keep it from being reserved.
        vm.expectRevert();
        channels.depositWithAuthorization(from, accountOf("thief"), 100, 0, NOW + 1, "salt", v, r, s);
        vm.expectRevert();
        channels.depositWithAuthorization(from, address(0), 100, 0, NOW + 1, "salt", v, r, s);
        vm.expectRevert(PaymentChannels.ZeroAmount.selector);
        channels.depositWithAuthorization(from, payee, 0, 0, NOW + 1, "salt", v, r, s);
        channels.depositWithAuthorization(from, payee, 100, 0, NOW + 1, "salt", v, r, s);
        checkEqual(channels.freeOf(from), 0, "free");
        checkEqual(channels.channelOf(from, payee).ceiling, 100, "reserved");
        vm.expectRevert();
        channels.depositWithAuthorization(from, payee, 100, 0, NOW + 1, "salt", v, r, s);
    }

    function test_deposit_by_authorisation_without_a_payee_stays_free() external {
        uint256 key = keyOf("authorising");
        address from = vm.addr(key);
        dollar.mint(from, 100);
        bytes32 nonce = keccak256(abi.encode(address(0), bytes32("salt")));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, dollar.receiveDigest(from, address(channels), 100, NOW + 1, nonce));
        channels.depositWithAuthorization(from, address(0), 100, 0, NOW + 1, "salt", v, r, s);
        checkEqual(channels.freeOf(from), 100, "free");
    }

    // ── Reserving and taking back ──

    function test_reservation_takes_from_what_is_free() external {
        checkChannel(RESERVED, 0, 0);
        checkEqual(channels.freeOf(payer), 2 * RESERVED, "free");
        vm.expectRevert(
            abi.encodeWithSelector(PaymentChannels.FreeTooLow.selector, 2 * RESERVED, 2 * RESERVED + 1)
        );
        vm.prank(payer);
        channels.reserve(payee, 2 * RESERVED + 1);
        vm.expectRevert(PaymentChannels.ZeroAmount.selector);
        vm.prank(payer);
        channels.reserve(payee, 0);
        vm.expectRevert(PaymentChannels.ZeroAddress.selector);
        vm.prank(payer);
        channels.reserve(address(0), 1);
    }

    function test_many_reservations_are_the_sum_of_each() external {
        PaymentChannels.Reservation[] memory many = new PaymentChannels.Reservation[](3);
        many[0] = PaymentChannels.Reservation(payee, 10);
        many[1] = PaymentChannels.Reservation(accountOf("second"), 20);
        many[2] = PaymentChannels.Reservation(payee, 30);
        vm.prank(payer);
        channels.reserveMany(many);
        checkChannel(RESERVED + 40, 0, 0);
        checkEqual(channels.channelOf(payer, accountOf("second")).ceiling, 20, "the second's");
        checkEqual(channels.freeOf(payer), 2 * RESERVED - 60, "free");
        many[1].amount = 2 * RESERVED;
        vm.expectRevert(
            abi.encodeWithSelector(PaymentChannels.FreeTooLow.selector, 2 * RESERVED - 60, 2 * RESERVED + 40)
        );
        vm.prank(payer);
        channels.reserveMany(many);
    }

    function test_too_many_reservations_are_refused() external {
        uint256 most = channels.RESERVATIONS_MAX();
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.TooMany.selector, most + 1, most));
        channels.reserveMany(new PaymentChannels.Reservation[](most + 1));
        // As many as are allowed are looked at, one after the other.
        vm.expectRevert(PaymentChannels.ZeroAddress.selector);
        channels.reserveMany(new PaymentChannels.Reservation[](most));
    }

    function test_a_ceiling_that_does_not_fit_is_refused() external {
        dollar.mint(payer, type(uint96).max);
        vm.prank(payer);
        channels.deposit(payer, type(uint96).max);
        vm.expectRevert(
            abi.encodeWithSelector(
                PaymentChannels.CeilingTooHigh.selector, uint256(type(uint96).max) + RESERVED
            )
        );
        vm.prank(payer);
        channels.reserve(payee, type(uint96).max);
        vm.prank(payer);
        channels.reserve(payee, type(uint96).max - RESERVED);
        checkChannel(type(uint96).max, 0, 0);
    }

    function test_money_comes_back_only_after_the_thaw() external {
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.NotThawed.selector, 0));
        vm.prank(payer);
        channels.unreserve(payee);
        vm.prank(payer);
        channels.thaw(payee);
        checkChannel(RESERVED, 0, NOW + THAW);
        vm.warp(NOW + THAW - 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.NotThawed.selector, NOW + THAW));
        vm.prank(payer);
        channels.unreserve(payee);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.AlreadyThawing.selector, NOW + THAW));
        vm.prank(payer);
        channels.thaw(payee);
        // The payee, or who watches for it, still has its money, to the last second and beyond.
        claimAs(payerKey, RESERVED / 4);
        vm.warp(NOW + THAW);
        claimAs(payerKey, RESERVED / 2);
        vm.prank(payer);
        channels.unreserve(payee);
        checkChannel(RESERVED / 2, RESERVED / 2, 0);
        checkEqual(channels.freeOf(payer), 2 * RESERVED + RESERVED / 2, "free");
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.NothingReserved.selector, payer, payee));
        vm.prank(payer);
        channels.thaw(payee);
    }

    function test_reserving_again_ends_a_thaw() external {
        vm.prank(payer);
        channels.thaw(payee);
        vm.prank(payer);
        channels.reserve(payee, 1);
        checkChannel(RESERVED + 1, 0, 0);
        vm.warp(NOW + 10 * THAW);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.NotThawed.selector, 0));
        vm.prank(payer);
        channels.unreserve(payee);
    }

    function test_dust_from_strangers_changes_nothing_of_a_channel() external {
        address stranger = accountOf("stranger");
        fund(stranger, 100);
        vm.prank(payer);
        channels.thaw(payee);
        vm.prank(stranger);
        channels.deposit(payer, 1);
        vm.prank(stranger);
        channels.deposit(stranger, 10);
        vm.prank(stranger);
        channels.reserve(payee, 1);
        vm.prank(stranger);
        channels.reserve(payer, 1);
        checkChannel(RESERVED, 0, NOW + THAW);
        vm.warp(NOW + THAW);
        vm.prank(payer);
        channels.unreserve(payee);
        checkEqual(channels.freeOf(payer), 3 * RESERVED + 1, "all that was the payer's, and the dust");
    }

    function test_only_the_payee_releases_before_the_thaw() external {
        vm.expectRevert(
            abi.encodeWithSelector(PaymentChannels.NothingReserved.selector, payer, address(this))
        );
        channels.release(payer);
        claimAs(payerKey, 400);
        vm.prank(payee);
        channels.release(payer);
        checkChannel(400, 400, 0);
        checkEqual(channels.freeOf(payer), 3 * RESERVED - 400, "free");
    }

    function test_a_total_goes_on_where_it_stopped() external {
        claimAs(payerKey, 400);
        vm.prank(payee);
        channels.release(payer);
        vm.prank(payer);
        channels.reserve(payee, 100);
        // A voucher that was paid is not paid again, and a newer one is paid from where it stood.
        claimRefused(payerKey, 400, abi.encodeWithSelector(PaymentChannels.NothingToClaim.selector, 400));
        claimAs(payerKey, 450);
        checkChannel(500, 450, 0);
        checkEqual(channels.freeOf(payee), 450, "all that the payee ever got");
    }
}
