// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "./base/Checks.sol";
import {Dollar} from "./base/Dollar.sol";
import {Tree} from "./base/Tree.sol";
import {Dues} from "../src/base/Dues.sol";
import {PaymentChannels} from "../src/PaymentChannels.sol";
import {PaymentManager} from "../src/PaymentManager.sol";
import {Payouts} from "../src/Payouts.sol";
import {ReputationAnchor} from "../src/ReputationAnchor.sol";
import {StakeRegistry} from "../src/StakeRegistry.sol";

/// What the contracts say has happened: from this, and nothing else, a supernode keeps its books.
contract EventsTest is Checks {
    Dollar private dollar;
    address private client = accountOf("client");
    address private provider = accountOf("provider");

    function setUp() external {
        vm.warp(NOW);
        dollar = new Dollar();
        dollar.mint(client, 1_000_000);
    }

    function test_channels_say_what_moved() external {
        PaymentChannels channels = new PaymentChannels(dollar, 1 days);
        approve(address(channels));
        expect();
        emit PaymentChannels.Deposited(client, 1_000);
        vm.prank(client);
        channels.deposit(client, 1_000);
        expect();
        emit PaymentChannels.Reserved(client, provider, 500);
        vm.prank(client);
        channels.reserve(provider, 500);
        expect();
        emit PaymentChannels.SignerAuthorized(client, accountOf("hot"));
        vm.prank(client);
        channels.authorizeSigner(accountOf("hot"));
        (bytes32 r, bytes32 vs) = signShort(keyOf("hot"), channels.voucherDigest(client, provider, 100));
        channels.claim(client, provider, 100, r, vs);
        (r, vs) = signShort(keyOf("hot"), channels.voucherDigest(client, provider, 130));
        expect();
        emit PaymentChannels.Claimed(client, provider, 130, 30);
        channels.claim(client, provider, 130, r, vs);
        expect();
        emit PaymentChannels.SignerRevoked(client, accountOf("hot"), uint64(NOW) + 1 days);
        vm.prank(client);
        channels.revokeSigner(accountOf("hot"));
        expect();
        emit PaymentChannels.ThawStarted(client, provider, NOW + 1 days);
        vm.prank(client);
        channels.thaw(provider);
        expect();
        emit PaymentChannels.Unreserved(client, provider, 370);
        vm.prank(provider);
        channels.release(client);
        expect();
        emit PaymentChannels.Withdrawn(provider, client, 50);
        vm.prank(provider);
        channels.withdraw(client, 50);
    }

    function test_escrow_says_how_each_job_went() external {
        PaymentManager manager = new PaymentManager(dollar);
        approve(address(manager));
        PaymentManager.Terms memory terms = PaymentManager.Terms({
            provider: provider,
            amount: 1_000,
            arbiter: accountOf("arbiter"),
            deliverBy: uint64(NOW) + 1 days,
            reviewSeconds: 1 hours,
            ruleSeconds: 2 days,
            silenceShare: 2_500,
            specification: "what to do"
        });
        bytes32 job = manager.nameOf(client, terms, "salt");
        expect();
        emit PaymentManager.Created(job, client, provider, terms, "salt");
        vm.prank(client);
        manager.create(terms, "salt");
        expect();
        emit PaymentManager.Delivered(job, "result", uint64(NOW) + 1 hours);
        vm.prank(provider);
        manager.deliver(job, "result");
        expect();
        emit PaymentManager.Disputed(job, "evidence", uint64(NOW) + 2 days);
        vm.prank(client);
        manager.dispute(job, "evidence");
        vm.warp(NOW + 2 days + 1);
        dollar.setBlocked(provider, true);
        expect();
        emit PaymentManager.Closed(job, PaymentManager.Ending.ArbiterSilent, 250, 750);
        expect();
        emit Dues.Owed(provider, 250);
        manager.close(job);
        expect();
        emit Dues.Collected(provider, client, 250);
        vm.prank(provider);
        manager.collect(client);
    }

    function test_each_ending_has_its_name() external {
        PaymentManager manager = new PaymentManager(dollar);
        approve(address(manager));
        ends(manager, 1, PaymentManager.Ending.Accepted, 1_000);
        ends(manager, 2, PaymentManager.Ending.Silence, 1_000);
        ends(manager, 3, PaymentManager.Ending.Refunded, 0);
        ends(manager, 4, PaymentManager.Ending.Declined, 0);
        ends(manager, 5, PaymentManager.Ending.Ruled, 600);
        ends(manager, 6, PaymentManager.Ending.Settled, 700);
    }

    function test_payouts_say_who_got_what() external {
        Payouts payouts = new Payouts(dollar);
        approve(address(payouts));
        bytes32[] memory leaves = new bytes32[](1);
        leaves[0] = payouts.leafOf(client, 3, 7, provider, 40);
        bytes32 root = Tree.root(leaves);
        expect();
        emit Payouts.Opened(client, 3, root, 100, uint64(NOW) + 8 days);
        vm.prank(client);
        payouts.open(3, root, 100, uint64(NOW) + 8 days);
        expect();
        emit Payouts.Paid(client, 3, provider, 7, 40);
        payouts.claim(client, 3, Payouts.Share(7, provider, 40, new bytes32[](0)));
        vm.warp(NOW + 8 days);
        expect();
        emit Payouts.Returned(client, 3, 60);
        vm.prank(client);
        payouts.reclaim(3);
    }

    function test_stakes_say_what_is_at_stake() external {
        StakeRegistry stakes = new StakeRegistry(dollar, accountOf("judge"), accountOf("commons"), 5);
        approve(address(stakes));
        bytes32 peer = stakes.peerIdHashOf("key");
        bytes32 node = stakes.nameOf(client, peer);
        bytes memory signature = abi.encodePacked(bytes32("first half"), bytes32("second half"));
        expect();
        emit StakeRegistry.Registered(node, client, peer, "key", signature, "did:key:z", 9);
        vm.prank(client);
        stakes.register("key", signature, "did:key:z", 9);
        expect();
        emit StakeRegistry.Staked(node, 1_000);
        vm.prank(client);
        stakes.stake(node, 1_000);
        expect();
        emit StakeRegistry.Unbonding(node, 100, uint64(NOW) + 14 days);
        vm.prank(client);
        stakes.unbond(node, 100);
        expect();
        emit StakeRegistry.Rebonded(node, 100);
        vm.prank(client);
        stakes.rebond(node);
        for (uint256 number = 1; number <= 3; ++number) {
            expect();
            emit StakeRegistry.Proposed(number, node, client, 100, 10, "evidence", uint64(NOW) + 7 days);
            vm.prank(client);
            stakes.propose(node, 100, "evidence");
        }
        expect();
        emit StakeRegistry.Answered(1, "answer");
        vm.prank(client);
        stakes.answer(1, "answer");
        vm.warp(NOW + 2 days);
        expect();
        emit StakeRegistry.Upheld(1, 100);
        vm.prank(accountOf("judge"));
        stakes.uphold(1);
        expect();
        emit StakeRegistry.Rejected(2);
        vm.prank(accountOf("judge"));
        stakes.reject(2);
        vm.warp(NOW + 7 days);
        expect();
        emit StakeRegistry.Lapsed(3);
        stakes.lapse(3);
        vm.prank(client);
        stakes.unbond(node, 900);
        vm.warp(NOW + 21 days);
        expect();
        emit StakeRegistry.Withdrawn(node, provider, 900);
        vm.prank(client);
        stakes.withdraw(node, provider);
    }

    function test_anchors_say_what_was_anchored() external {
        ReputationAnchor reputation = new ReputationAnchor(1 days);
        expect();
        emit ReputationAnchor.Anchored(client, 20_000, "root", "receipts");
        vm.prank(client);
        reputation.anchor(20_000, "root", "receipts");
    }

    // ── Below ──

    function expect() private {
        vm.expectEmit(true, true, true, true);
    }

    function approve(address spender) private {
        vm.prank(client);
        dollar.approve(spender, type(uint256).max);
    }

    /// Brings a job to one of its endings.
    function ends(PaymentManager manager, uint256 salt, PaymentManager.Ending ending, uint256 toProvider)
        private
    {
        vm.warp(NOW);
        PaymentManager.Terms memory terms = PaymentManager.Terms({
            provider: provider,
            amount: 1_000,
            arbiter: accountOf("arbiter"),
            deliverBy: uint64(NOW) + 1 days,
            reviewSeconds: 1 hours,
            ruleSeconds: 2 days,
            silenceShare: 0,
            specification: 0
        });
        vm.prank(client);
        bytes32 job = manager.create(terms, bytes32(salt));
        bytes memory signature = signLong(keyOf("provider"), manager.settlementDigest(job, toProvider, NOW));
        if (ending != PaymentManager.Ending.Refunded && ending != PaymentManager.Ending.Declined) {
            vm.prank(provider);
            manager.deliver(job, "result");
        }
        if (ending == PaymentManager.Ending.Ruled) {
            vm.prank(client);
            manager.dispute(job, 0);
        }
        bool silent = ending == PaymentManager.Ending.Silence || ending == PaymentManager.Ending.Refunded;
        if (silent) vm.warp(NOW + 2 days);
        expect();
        emit PaymentManager.Closed(job, ending, toProvider, 1_000 - toProvider);
        if (silent) {
            manager.close(job);
        } else if (ending == PaymentManager.Ending.Ruled) {
            vm.prank(accountOf("arbiter"));
            manager.rule(job, toProvider);
        } else if (ending == PaymentManager.Ending.Declined) {
            vm.prank(provider);
            manager.decline(job);
        } else {
            vm.prank(client);
            if (ending == PaymentManager.Ending.Accepted) manager.accept(job, "result");
            else manager.settle(job, toProvider, NOW, signature);
        }
    }
}
