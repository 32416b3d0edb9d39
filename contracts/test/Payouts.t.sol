// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "./base/Checks.sol";
import {Dollar} from "./base/Dollar.sol";
import {Tree} from "./base/Tree.sol";
import {Dues} from "../src/base/Dues.sol";
import {Payouts} from "../src/Payouts.sol";

contract PayoutsTest is Checks {
    uint64 private constant EPOCH = 7;
    uint256 private constant EARNERS = 300;
    uint64 private constant OPEN = 30 days;

    Dollar private dollar;
    Payouts private payouts;
    address private payer = accountOf("payer");
    bytes32[] private leaves;
    uint96 private total;

    function setUp() external {
        vm.warp(NOW);
        dollar = new Dollar();
        payouts = new Payouts(dollar);
        dollar.mint(payer, 1_000_000);
        vm.prank(payer);
        dollar.approve(address(payouts), type(uint256).max);
        for (uint256 index = 0; index < EARNERS; ++index) {
            leaves.push(payouts.leafOf(payer, EPOCH, index, earner(index), amount(index)));
            total += amount(index);
        }
        vm.prank(payer);
        payouts.open(EPOCH, Tree.root(leaves), total, uint64(NOW) + OPEN);
    }

    function test_each_share_is_paid_once_whoever_asks() external {
        for (uint256 index = 0; index < EARNERS; index += 37) {
            check(!payouts.isClaimed(payer, EPOCH, index), "not yet");
            payouts.claim(payer, EPOCH, share(index));
            checkEqual(dollar.balanceOf(earner(index)), amount(index), "paid");
            check(payouts.isClaimed(payer, EPOCH, index), "marked");
            vm.expectRevert(abi.encodeWithSelector(Payouts.AlreadyClaimed.selector, index));
            payouts.claim(payer, EPOCH, share(index));
        }
    }

    function test_all_shares_are_all_there_is() external {
        Payouts.Share[] memory shares = new Payouts.Share[](150);
        for (uint256 half = 0; half < 2; ++half) {
            for (uint256 index = 0; index < 150; ++index) {
                shares[index] = share(half * 150 + index);
            }
            payouts.claimMany(payer, EPOCH, shares);
        }
        (, uint96 left,) = payouts.payoutOf(payer, EPOCH);
        checkEqual(left, 0, "left");
        checkEqual(dollar.balanceOf(address(payouts)), 0, "held");
        vm.warp(NOW + OPEN);
        vm.expectRevert(abi.encodeWithSelector(Payouts.NothingLeft.selector, payer, EPOCH));
        vm.prank(payer);
        payouts.reclaim(EPOCH);
    }

    function test_a_share_claimed_meanwhile_does_not_spoil_the_others() external {
        Payouts.Share[] memory shares = new Payouts.Share[](3);
        (shares[0], shares[1], shares[2]) = (share(5), share(6), share(5));
        payouts.claim(payer, EPOCH, share(6));
        payouts.claimMany(payer, EPOCH, shares);
        checkEqual(dollar.balanceOf(earner(5)), amount(5), "paid once");
        checkEqual(dollar.balanceOf(earner(6)), amount(6), "paid once");
    }

    function test_a_share_is_what_the_root_says() external {
        Payouts.Share memory wrong = share(5);
        wrong.amount += 1;
        notProven(wrong);
        wrong = share(5);
        wrong.account = address(this);
        notProven(wrong);
        wrong = share(5);
        wrong.index = 6;
        notProven(wrong);
        wrong = share(5);
        wrong.proof[0] ^= bytes32(uint256(1));
        notProven(wrong);
        wrong = share(5);
        wrong.proof = new bytes32[](32);
        notProven(wrong);
        wrong.proof = new bytes32[](33);
        vm.expectRevert(abi.encodeWithSelector(Payouts.ProofTooLong.selector, 33));
        payouts.claim(payer, EPOCH, wrong);
        Payouts.Share[] memory many = new Payouts.Share[](1);
        many[0] = share(5);
        many[0].amount = 9;
        vm.expectRevert(abi.encodeWithSelector(Payouts.ProofWrong.selector, 5));
        payouts.claimMany(payer, EPOCH, many);
        many = new Payouts.Share[](201);
        vm.expectRevert(abi.encodeWithSelector(Payouts.TooMany.selector, 201, 200));
        payouts.claimMany(payer, EPOCH, many);
        vm.expectRevert(abi.encodeWithSelector(Payouts.ProofWrong.selector, 0));
        payouts.claimMany(payer, EPOCH, new Payouts.Share[](200));
    }

    function test_a_root_shown_elsewhere_pays_nothing_there() external {
        bytes32 root = Tree.root(leaves);
        // Another epoch, another payer, another contract, another chain.
        vm.prank(payer);
        payouts.open(EPOCH + 1, root, total, uint64(NOW) + OPEN);
        vm.expectRevert(abi.encodeWithSelector(Payouts.ProofWrong.selector, 5));
        payouts.claim(payer, EPOCH + 1, share(5));
        address other = accountOf("other payer");
        dollar.mint(other, total);
        vm.prank(other);
        dollar.approve(address(payouts), total);
        vm.prank(other);
        payouts.open(EPOCH, root, total, uint64(NOW) + OPEN);
        vm.expectRevert(abi.encodeWithSelector(Payouts.ProofWrong.selector, 5));
        payouts.claim(other, EPOCH, share(5));
        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(Payouts.ProofWrong.selector, 5));
        payouts.claim(payer, EPOCH, share(5));
        vm.chainId(block.chainid - 1);
        payouts.claim(payer, EPOCH, share(5));
    }

    function test_a_payer_that_promises_more_than_it_locked_takes_from_nobody_else() external {
        bytes32[] memory one = new bytes32[](1);
        one[0] = payouts.leafOf(payer, EPOCH + 1, 0, earner(0), 500);
        vm.prank(payer);
        payouts.open(EPOCH + 1, Tree.root(one), 499, uint64(NOW) + OPEN);
        vm.expectRevert(abi.encodeWithSelector(Payouts.MoreThanLeft.selector, 499, 500));
        payouts.claim(payer, EPOCH + 1, Payouts.Share(0, earner(0), 500, new bytes32[](0)));
    }

    function test_what_nobody_took_goes_back_and_not_before() external {
        payouts.claim(payer, EPOCH, share(5));
        vm.warp(NOW + OPEN - 1);
        payouts.claim(payer, EPOCH, share(6));
        vm.expectRevert(abi.encodeWithSelector(Payouts.NotExpired.selector, NOW + OPEN));
        vm.prank(payer);
        payouts.reclaim(EPOCH);
        vm.warp(NOW + OPEN);
        vm.expectRevert(abi.encodeWithSelector(Payouts.Expired.selector, NOW + OPEN));
        payouts.claim(payer, EPOCH, share(7));
        vm.expectRevert(abi.encodeWithSelector(Payouts.NothingLeft.selector, address(this), EPOCH));
        payouts.reclaim(EPOCH);
        vm.prank(payer);
        payouts.reclaim(EPOCH);
        checkEqual(dollar.balanceOf(payer), 1_000_000 - amount(5) - amount(6), "returned");
        bytes32 root = Tree.root(leaves);
        vm.expectRevert(abi.encodeWithSelector(Payouts.EpochTaken.selector, payer, EPOCH));
        vm.prank(payer);
        payouts.open(EPOCH, root, total, uint64(NOW) + 2 * OPEN);
    }

    function test_an_epoch_is_opened_once_with_money_a_root_and_a_time() external {
        uint64 soonest = uint64(NOW) + payouts.OPEN_SECONDS_MIN();
        uint64 latest = uint64(NOW) + payouts.OPEN_SECONDS_MAX();
        vm.expectRevert(Payouts.NoRoot.selector);
        vm.prank(payer);
        payouts.open(1, 0, 1, soonest);
        vm.expectRevert(abi.encodeWithSelector(Payouts.TimesOutOfBounds.selector, soonest - 1));
        vm.prank(payer);
        payouts.open(1, "root", 1, soonest - 1);
        vm.expectRevert(abi.encodeWithSelector(Payouts.TimesOutOfBounds.selector, latest + 1));
        vm.prank(payer);
        payouts.open(1, "root", 1, latest + 1);
        vm.expectRevert(Dues.ZeroAmount.selector);
        vm.prank(payer);
        payouts.open(1, "root", 0, latest);
        vm.prank(payer);
        payouts.open(1, "root", 1, latest);
        vm.prank(payer);
        payouts.open(2, "root", 1, soonest);
        vm.expectRevert(abi.encodeWithSelector(Payouts.EpochTaken.selector, payer, 1));
        vm.prank(payer);
        payouts.open(1, "root", 1, latest);
    }

    function test_a_blocked_earner_is_owed_and_the_others_are_paid() external {
        dollar.setBlocked(earner(5), true);
        Payouts.Share[] memory shares = new Payouts.Share[](2);
        (shares[0], shares[1]) = (share(5), share(6));
        payouts.claimMany(payer, EPOCH, shares);
        checkEqual(payouts.owed(earner(5)), amount(5), "owed");
        checkEqual(dollar.balanceOf(earner(6)), amount(6), "paid");
        vm.prank(earner(5));
        payouts.collect(accountOf("elsewhere"));
        checkEqual(dollar.balanceOf(accountOf("elsewhere")), amount(5), "collected elsewhere");
    }

    function earner(uint256 index) private pure returns (address) {
        return address(uint160(0xe000 + index));
    }

    function amount(uint256 index) private pure returns (uint96) {
        return uint96(1 + index * 3);
    }

    function share(uint256 index) private view returns (Payouts.Share memory) {
        return Payouts.Share(index, earner(index), amount(index), Tree.proof(leaves, index));
    }

    function notProven(Payouts.Share memory wrong) private {
        vm.expectRevert(abi.encodeWithSelector(Payouts.ProofWrong.selector, wrong.index));
        payouts.claim(payer, EPOCH, wrong);
    }
}
