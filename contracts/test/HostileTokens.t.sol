// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "./base/Checks.sol";
import {HostileToken} from "./base/HostileToken.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ExactToken} from "../src/base/ExactToken.sol";
import {PaymentChannels} from "../src/PaymentChannels.sol";
import {PaymentManager} from "../src/PaymentManager.sol";
import {Payouts} from "../src/Payouts.sol";
import {StakeRegistry} from "../src/StakeRegistry.sol";

/// What a token can do to the books of its own deployment: nothing but refuse to move.
contract HostileTokensTest is Checks {
    HostileToken private token;
    PaymentChannels private channels;
    PaymentManager private manager;
    Payouts private payouts;
    StakeRegistry private stakes;
    address private client = accountOf("client");
    address private provider = accountOf("provider");
    bytes32 private node;
    bytes32 private first;

    function setUp() external {
        vm.warp(NOW);
        token = new HostileToken();
        IERC20 asToken = IERC20(address(token));
        channels = new PaymentChannels(asToken, 1 days);
        manager = new PaymentManager(asToken);
        payouts = new Payouts(asToken);
        stakes = new StakeRegistry(asToken, accountOf("judge"), accountOf("commons"), 10);
        token.mint(client, 1e6);
        address[4] memory spenders = [address(channels), address(manager), address(payouts), address(stakes)];
        for (uint256 index = 0; index < 4; ++index) {
            vm.prank(client);
            token.approve(spenders[index], type(uint256).max);
        }
        vm.prank(client);
        node = stakes.register("key", new bytes(64), "did:key:z", 1);
        // Somebody else's money is in each of them.
        vm.prank(client);
        channels.deposit(provider, 10_000);
        vm.prank(client);
        first = manager.create(terms(10_000), "first");
        vm.prank(client);
        payouts.open(1, "root", 10_000, uint64(NOW) + 30 days);
        vm.prank(client);
        stakes.stake(node, 10_000);
    }

    // ── On the way in ──

    function test_a_fee_from_what_arrives_is_refused() external {
        token.takeFees(100, 0);
        depositsAreRefused(true);
    }

    function test_a_transfer_that_says_false_is_refused() external {
        token.answer(true, false, false);
        depositsAreRefused(false);
    }

    function test_a_transfer_that_says_true_and_moves_nothing_is_refused() external {
        token.answer(false, true, false);
        depositsAreRefused(true);
    }

    function test_a_token_that_says_nothing_is_as_good_as_one_that_says_true() external {
        token.answer(false, false, true);
        vm.prank(client);
        channels.deposit(client, 100);
        vm.prank(client);
        channels.withdraw(client, 100);
        checkEqual(token.balanceOf(address(channels)), 10_000, "as before");
    }

    // ── On the way out ──

    function test_a_fee_on_top_is_not_paid_by_the_others() external {
        token.takeFees(0, 100);
        inexact(provider, address(channels), abi.encodeCall(channels.withdraw, (provider, 5_000)));
        checkEqual(channels.freeOf(provider), 10_000, "as before");
        // There is another job's money beside this one's, from which the fee would come.
        token.takeFees(0, 0);
        vm.prank(client);
        manager.create(terms(10_000), "second");
        token.takeFees(0, 100);
        inexact(provider, address(manager), abi.encodeCall(manager.decline, (first)));
        checkEqual(token.balanceOf(address(manager)), 20_000, "as before");
    }

    function test_a_payment_that_says_false_is_owed() external {
        token.answer(true, false, false);
        vm.prank(provider);
        manager.decline(first);
        checkEqual(manager.owed(client), 10_000, "owed");
        checkEqual(token.balanceOf(address(manager)), 10_000, "and there");
        token.answer(false, false, false);
        vm.prank(client);
        manager.collect(client);
        checkEqual(token.balanceOf(address(manager)), 0, "collected");
    }

    function test_what_could_not_be_paid_twice_is_owed_in_all() external {
        vm.prank(client);
        bytes32 second = manager.create(terms(7_000), "second");
        token.answer(true, false, false);
        vm.prank(provider);
        manager.decline(first);
        vm.prank(provider);
        manager.decline(second);
        checkEqual(manager.owed(client), 17_000, "of both jobs");
    }

    function test_a_payment_that_says_true_and_moves_nothing_is_refused() external {
        token.answer(false, true, false);
        inexact(provider, address(manager), abi.encodeCall(manager.decline, (first)));
        inexact(provider, address(channels), abi.encodeCall(channels.withdraw, (provider, 5_000)));
    }

    function test_a_fee_from_what_arrives_is_the_recipients_affair() external {
        token.takeFees(1_000, 0);
        vm.prank(provider);
        channels.withdraw(provider, 5_000);
        checkEqual(token.balanceOf(provider), 4_500, "less the fee");
        checkEqual(token.balanceOf(address(channels)), 5_000, "and no more than what was asked for");
    }

    // ── Rebases ──

    function test_what_a_rebase_adds_is_nobodys() external {
        token.rebase(2e18);
        checkEqual(channels.freeOf(provider), 10_000, "the books do not follow");
        vm.prank(provider);
        channels.withdraw(provider, 10_000);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannels.FreeTooLow.selector, 0, 1));
        vm.prank(provider);
        channels.withdraw(provider, 1);
    }

    function test_what_a_rebase_takes_leaves_the_books_and_what_there_is() external {
        token.rebase(0.5e18);
        vm.expectRevert();
        vm.prank(provider);
        channels.withdraw(provider, 10_000);
        vm.prank(provider);
        channels.withdraw(provider, 5_000);
        checkEqual(channels.freeOf(provider), 5_000, "still owed");
        // A job whose money has shrunk still ends; what cannot be moved is owed.
        vm.prank(provider);
        manager.decline(first);
        checkEqual(manager.owed(client), 10_000, "owed");
    }

    // ── Re-entrancy ──

    function test_a_deposit_inside_a_deposit_is_refused() external {
        // Without a guard, one transfer would be counted by both.
        vm.prank(client);
        token.approve(address(channels), type(uint256).max);
        token.mint(address(token), 1_000);
        vm.prank(address(token));
        token.approve(address(channels), type(uint256).max);
        reentersInto(address(channels), abi.encodeCall(channels.deposit, (client, 100)));
        vm.prank(client);
        channels.deposit(client, 100);
        wasRefusedInside();
        checkEqual(channels.freeOf(client), 100, "counted once");
    }

    function test_nothing_that_moves_money_is_entered_twice() external {
        bytes[] memory calls = new bytes[](4);
        calls[0] = abi.encodeCall(channels.withdraw, (client, 1));
        calls[1] = abi.encodeCall(channels.depositWithPermit, (1, NOW, 27, bytes32(0), bytes32(0)));
        calls[2] = abi.encodeCall(
            channels.depositWithAuthorization,
            (client, address(0), 1, 0, NOW + 1, bytes32(0), 27, bytes32(0), bytes32(0))
        );
        calls[3] = abi.encodeCall(channels.deposit, (client, 1));
        for (uint256 index = 0; index < calls.length; ++index) {
            reentersInto(address(channels), calls[index]);
            vm.prank(provider);
            channels.withdraw(provider, 10);
            wasRefusedInside();
        }
        calls = new bytes[](7);
        calls[0] = abi.encodeCall(manager.create, (terms(1), "inner"));
        calls[1] = abi.encodeCall(manager.accept, (first, "result"));
        calls[2] = abi.encodeCall(manager.acceptBySignature, (first, "result", NOW, ""));
        calls[3] = abi.encodeCall(manager.decline, (first));
        calls[4] = abi.encodeCall(manager.settle, (first, 1, NOW, ""));
        calls[5] = abi.encodeCall(manager.close, (first));
        calls[6] = abi.encodeCall(manager.rule, (first, 1));
        for (uint256 index = 0; index < calls.length; ++index) {
            reentersInto(address(manager), calls[index]);
            vm.prank(client);
            manager.create(terms(10), bytes32(index));
            wasRefusedInside();
        }
        reentersInto(address(manager), abi.encodeCall(manager.collect, (client)));
        vm.prank(provider);
        manager.decline(first);
        wasRefusedInside();
    }

    function test_nothing_of_payouts_and_stakes_is_entered_twice() external {
        bytes[] memory calls = new bytes[](4);
        calls[0] = abi.encodeCall(payouts.open, (9, "root", 1, uint64(NOW) + 30 days));
        Payouts.Share memory share = Payouts.Share(0, client, 1, new bytes32[](0));
        calls[1] = abi.encodeCall(payouts.claim, (client, 1, share));
        Payouts.Share[] memory shares = new Payouts.Share[](1);
        shares[0] = share;
        calls[2] = abi.encodeCall(payouts.claimMany, (client, 1, shares));
        calls[3] = abi.encodeCall(payouts.reclaim, (1));
        for (uint256 index = 0; index < calls.length; ++index) {
            reentersInto(address(payouts), calls[index]);
            vm.prank(client);
            payouts.open(uint64(20 + index), "root", 1, uint64(NOW) + 30 days);
            wasRefusedInside();
        }
        calls = new bytes[](3);
        calls[0] = abi.encodeCall(stakes.stake, (node, 1));
        calls[1] = abi.encodeCall(stakes.withdraw, (node, client));
        calls[2] = abi.encodeCall(stakes.propose, (node, 1, "evidence"));
        for (uint256 index = 0; index < calls.length; ++index) {
            reentersInto(address(stakes), calls[index]);
            vm.prank(client);
            stakes.stake(node, 1);
            wasRefusedInside();
        }
    }

    // ── Below ──

    function terms(uint96 amount) private view returns (PaymentManager.Terms memory) {
        return PaymentManager.Terms({
            provider: provider,
            amount: amount,
            arbiter: accountOf("arbiter"),
            deliverBy: uint64(NOW) + 1 days,
            reviewSeconds: 1 hours,
            ruleSeconds: 2 days,
            silenceShare: 3_000,
            specification: ""
        });
    }

    function depositsAreRefused(bool inexact_) private {
        uint256 until = NOW + 1;
        bytes[5] memory calls = [
            abi.encodeCall(channels.deposit, (client, 1_000)),
            abi.encodeCall(manager.create, (terms(1_000), "second")),
            abi.encodeCall(payouts.open, (2, "root", 1_000, uint64(NOW) + 30 days)),
            abi.encodeCall(stakes.stake, (node, 1_000)),
            abi.encodeCall(
                channels.depositWithAuthorization, (client, address(0), 1_000, 0, until, "salt", 27, "r", "s")
            )
        ];
        address[5] memory targets =
            [address(channels), address(manager), address(payouts), address(stakes), address(channels)];
        for (uint256 index = 0; index < 5; ++index) {
            if (inexact_) inexact(client, targets[index], calls[index]);
            vm.prank(client);
            (bool success,) = targets[index].call(calls[index]);
            check(!success, "refused");
            checkEqual(token.balanceOf(targets[index]), 10_000, "what was there is still there");
        }
        checkEqual(channels.freeOf(client), 0, "nothing is credited");
        checkEqual(stakes.nodeOf(node).bonded, 10_000, "nothing is bonded");
    }

    function inexact(address caller, address target, bytes memory call_) private {
        vm.prank(caller);
        (bool success, bytes memory answer) = target.call(call_);
        check(
            !success && bytes4(answer) == ExactToken.TransferInexact.selector, "not the amount that was said"
        );
    }

    function reentersInto(address target, bytes memory call_) private {
        token.callDuringTransfer(target, call_);
    }

    function wasRefusedInside() private view {
        check(!token.callSucceeded(), "the inner call is refused");
        check(
            bytes4(token.callAnswer()) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector,
            "by the guard"
        );
    }
}
