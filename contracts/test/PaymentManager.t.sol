// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "./base/Checks.sol";
import {Dollar} from "./base/Dollar.sol";
import {Denier, Wallet} from "./base/Wallet.sol";
import {Consent} from "../src/base/Consent.sol";
import {Dues} from "../src/base/Dues.sol";
import {PaymentManager} from "../src/PaymentManager.sol";

contract PaymentManagerTest is Checks {
    uint96 private constant AMOUNT = 1_001;
    uint32 private constant REVIEW = 1 hours;
    uint32 private constant RULING = 2 days;
    bytes32 private constant RESULT = keccak256("result");

    Dollar private dollar;
    PaymentManager private manager;
    address private client = accountOf("client");
    address private provider = accountOf("provider");
    address private arbiter = accountOf("arbiter");

    function setUp() external {
        vm.warp(NOW);
        dollar = new Dollar();
        manager = new PaymentManager(dollar);
        fund(client);
    }

    function test_a_deployment_wants_a_token() external {
        vm.expectRevert(Dues.ZeroAddress.selector);
        new PaymentManager(Dollar(address(0)));
    }

    // ── Creating ──

    function test_a_job_is_recorded_with_all_its_terms() external {
        bytes32 job = created();
        PaymentManager.Job memory is_ = manager.jobOf(job);
        check(is_.client == client && is_.provider == provider && is_.arbiter == arbiter, "the parties");
        check(is_.state == PaymentManager.State.Open && is_.result == bytes32(0), "the state");
        checkEqual(is_.amount, AMOUNT, "the amount");
        checkEqual(is_.deadline, NOW + 1 days, "the deadline");
        checkEqual(is_.reviewSeconds, REVIEW, "the review");
        checkEqual(is_.ruleSeconds, RULING, "the ruling");
        checkEqual(is_.silenceShare, 3_000, "the share on silence");
        checkEqual(dollar.balanceOf(address(manager)), AMOUNT, "what is held");
    }

    function test_nobody_takes_a_clients_name_before_it() external {
        address front = accountOf("front-runner");
        fund(front);
        vm.prank(front);
        bytes32 theirs = manager.create(terms(), "salt");
        bytes32 ours = created();
        check(theirs != ours, "the same terms by another client are another job");
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.NameTaken.selector, ours));
        vm.prank(client);
        manager.create(terms(), "salt");
        // Nor is a name free again once its job has ended: what was signed over it must not count anew.
        vm.prank(provider);
        manager.decline(ours);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.NameTaken.selector, ours));
        vm.prank(client);
        manager.create(terms(), "salt");
    }

    function test_unsound_terms_are_refused() external {
        PaymentManager.Terms memory bad = terms();
        bad.provider = address(0);
        refusedTerms(bad, Dues.ZeroAddress.selector);
        bad = terms();
        bad.arbiter = address(0);
        refusedTerms(bad, Dues.ZeroAddress.selector);
        bad = terms();
        bad.provider = client;
        refusedTerms(bad, PaymentManager.PartiesNotDistinct.selector);
        bad = terms();
        bad.arbiter = client;
        refusedTerms(bad, PaymentManager.PartiesNotDistinct.selector);
        bad = terms();
        bad.arbiter = provider;
        refusedTerms(bad, PaymentManager.PartiesNotDistinct.selector);
        bad = terms();
        bad.amount = 0;
        refusedTerms(bad, Dues.ZeroAmount.selector);
        bad = terms();
        bad.silenceShare = 10_001;
        refusedTerms(bad, PaymentManager.SplitOutOfBounds.selector);
    }

    function test_silence_may_give_all_to_either_side() external {
        PaymentManager.Terms memory asked = terms();
        for (uint16 share = 0; share <= 10_000; share += 10_000) {
            asked.silenceShare = share;
            vm.prank(client);
            bytes32 job = manager.create(asked, bytes32(uint256(share)));
            checkEqual(manager.jobOf(job).silenceShare, share, "as asked");
        }
    }

    function test_times_have_bounds_on_both_sides() external {
        uint64 most = manager.DELIVER_SECONDS_MAX();
        timesAre(uint64(NOW), REVIEW, RULING, false);
        timesAre(uint64(NOW) + 1, REVIEW, RULING, true);
        timesAre(uint64(NOW) + most, REVIEW, RULING, true);
        timesAre(uint64(NOW) + most + 1, REVIEW, RULING, false);
        uint32 least = manager.REVIEW_SECONDS_MIN();
        timesAre(uint64(NOW) + 1, least - 1, RULING, false);
        timesAre(uint64(NOW) + 1, least, RULING, true);
        timesAre(uint64(NOW) + 1, manager.REVIEW_SECONDS_MAX(), RULING, true);
        timesAre(uint64(NOW) + 1, manager.REVIEW_SECONDS_MAX() + 1, RULING, false);
        least = manager.RULE_SECONDS_MIN();
        timesAre(uint64(NOW) + 1, REVIEW, least - 1, false);
        timesAre(uint64(NOW) + 1, REVIEW, least, true);
        timesAre(uint64(NOW) + 1, REVIEW, manager.RULE_SECONDS_MAX(), true);
        timesAre(uint64(NOW) + 1, REVIEW, manager.RULE_SECONDS_MAX() + 1, false);
    }

    // ── Delivering and accepting ──

    function test_a_result_that_is_accepted_is_paid() external {
        bytes32 job = delivered();
        PaymentManager.Job memory is_ = manager.jobOf(job);
        check(is_.state == PaymentManager.State.Delivered && is_.result == RESULT, "delivered");
        checkEqual(is_.deadline, NOW + REVIEW, "to be looked at until");
        vm.prank(client);
        manager.accept(job, RESULT);
        ended(job, AMOUNT);
    }

    function test_another_result_than_the_delivered_one_is_not_accepted() external {
        bytes32 job = created();
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, job, PaymentManager.State.Open)
        );
        vm.prank(client);
        manager.accept(job, RESULT);
        vm.prank(provider);
        manager.deliver(job, RESULT);
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.ResultDiffers.selector, RESULT, keccak256("other"))
        );
        vm.prank(client);
        manager.accept(job, keccak256("other"));
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, job, PaymentManager.State.Delivered)
        );
        vm.prank(provider);
        manager.deliver(job, keccak256("other"));
    }

    function test_only_its_parties_move_a_job() external {
        bytes32 job = created();
        address stranger = accountOf("stranger");
        notParty(job, client, abi.encodeCall(manager.deliver, (job, RESULT)));
        notParty(job, stranger, abi.encodeCall(manager.deliver, (job, RESULT)));
        notParty(job, client, abi.encodeCall(manager.decline, (job)));
        vm.prank(provider);
        manager.deliver(job, RESULT);
        notParty(job, provider, abi.encodeCall(manager.accept, (job, RESULT)));
        notParty(job, stranger, abi.encodeCall(manager.accept, (job, RESULT)));
        notParty(job, provider, abi.encodeCall(manager.dispute, (job, RESULT)));
        vm.prank(client);
        manager.dispute(job, RESULT);
        notParty(job, client, abi.encodeCall(manager.rule, (job, 0)));
        notParty(job, provider, abi.encodeCall(manager.rule, (job, 0)));
        notParty(job, stranger, abi.encodeCall(manager.settle, (job, 0, NOW, "")));
        // The account zero is no party of a job that is not there.
        bytes32 none = keccak256("none");
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, none, PaymentManager.State.None)
        );
        manager.close(none);
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, none, PaymentManager.State.None)
        );
        vm.prank(address(0));
        manager.decline(none);
    }

    function test_deadlines_end_at_their_second() external {
        bytes32 late = created();
        vm.expectRevert(PaymentManager.NoResult.selector);
        vm.prank(provider);
        manager.deliver(late, bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooEarly.selector, NOW + 1 days));
        manager.close(late);
        vm.warp(NOW + 1 days);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooEarly.selector, NOW + 1 days));
        manager.close(late);
        vm.prank(provider);
        manager.deliver(late, RESULT);
        vm.warp(NOW + 1 days + REVIEW);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooEarly.selector, NOW + 1 days + REVIEW));
        manager.close(late);
        vm.prank(client);
        manager.dispute(late, "evidence");
        uint256 ruleUntil = NOW + 1 days + REVIEW + RULING;
        vm.warp(ruleUntil);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooEarly.selector, ruleUntil));
        manager.close(late);
        vm.prank(arbiter);
        manager.rule(late, 1);
        ended(late, 1);
    }

    function test_what_comes_after_a_deadline_is_refused() external {
        bytes32 job = created();
        vm.warp(NOW + 1 days + 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooLate.selector, NOW + 1 days));
        vm.prank(provider);
        manager.deliver(job, RESULT);
        vm.warp(NOW);
        vm.prank(provider);
        manager.deliver(job, RESULT);
        vm.warp(NOW + REVIEW + 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooLate.selector, NOW + REVIEW));
        vm.prank(client);
        manager.dispute(job, "evidence");
        vm.warp(NOW);
        vm.prank(client);
        manager.dispute(job, "evidence");
        vm.warp(NOW + RULING + 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooLate.selector, NOW + RULING));
        vm.prank(arbiter);
        manager.rule(job, 0);
    }

    // ── Silence ──

    function test_a_provider_that_does_not_deliver_is_not_paid() external {
        bytes32 job = created();
        vm.warp(NOW + 1 days + 1);
        manager.close(job);
        ended(job, 0);
    }

    function test_a_client_that_says_nothing_has_accepted() external {
        bytes32 job = delivered();
        vm.warp(NOW + REVIEW + 1);
        manager.close(job);
        ended(job, AMOUNT);
    }

    function test_what_is_over_or_never_was_is_not_closed() external {
        bytes32 job = delivered();
        vm.prank(client);
        manager.accept(job, RESULT);
        vm.warp(NOW + 365 days);
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, job, PaymentManager.State.Closed)
        );
        manager.close(job);
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, RESULT, PaymentManager.State.None)
        );
        manager.close(RESULT);
        ended(job, AMOUNT);
    }

    function test_an_arbiter_that_says_nothing_leaves_the_agreed_split() external {
        bytes32 job = disputed();
        vm.warp(NOW + RULING + 1);
        manager.close(job);
        // 1,001 × 0.3 is 300.3; the odd unit is the client's.
        ended(job, 300);
    }

    // ── Disputes and settlements ──

    function test_an_arbiter_splits_as_it_likes_and_no_more_than_there_is() external {
        bytes32 job = disputed();
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.SplitOutOfBounds.selector, AMOUNT + 1, AMOUNT));
        vm.prank(arbiter);
        manager.rule(job, AMOUNT + 1);
        vm.prank(arbiter);
        manager.rule(job, 400);
        ended(job, 400);
    }

    function test_an_arbiter_is_not_heard_without_a_dispute() external {
        bytes32 job = delivered();
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, job, PaymentManager.State.Delivered)
        );
        vm.prank(arbiter);
        manager.rule(job, 0);
    }

    function test_a_dispute_wants_a_delivery_and_is_made_once() external {
        bytes32 job = created();
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, job, PaymentManager.State.Open)
        );
        vm.prank(client);
        manager.dispute(job, "evidence");
        vm.prank(provider);
        manager.deliver(job, RESULT);
        vm.prank(client);
        manager.dispute(job, "evidence");
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, job, PaymentManager.State.Disputed)
        );
        vm.prank(client);
        manager.dispute(job, "evidence");
        // A client that changes its mind still may accept.
        vm.prank(client);
        manager.accept(job, RESULT);
        ended(job, AMOUNT);
    }

    function test_a_settlement_wants_both_and_its_exact_split() external {
        bytes32 job = disputed();
        bytes memory signature = signLong(keyOf("client"), manager.settlementDigest(job, 600, NOW));
        vm.expectRevert(abi.encodeWithSelector(Consent.NotSignedBy.selector, client));
        vm.prank(provider);
        manager.settle(job, 601, NOW, signature);
        // The one who signed cannot be both.
        vm.expectRevert(abi.encodeWithSelector(Consent.NotSignedBy.selector, provider));
        vm.prank(client);
        manager.settle(job, 600, NOW, signature);
        vm.warp(NOW + 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooLate.selector, NOW));
        vm.prank(provider);
        manager.settle(job, 600, NOW, signature);
        vm.warp(NOW);
        vm.prank(provider);
        manager.settle(job, 600, NOW, signature);
        ended(job, 600);
    }

    function test_a_client_sends_what_the_provider_signed() external {
        bytes32 job = created();
        bytes memory signature = signLong(keyOf("provider"), manager.settlementDigest(job, 10, NOW));
        vm.prank(client);
        manager.settle(job, 10, NOW, signature);
        ended(job, 10);
    }

    // ── Signatures ──

    function test_an_acceptance_by_signature_is_for_one_job_one_result_one_chain_one_contract() external {
        bytes32 job = delivered();
        bytes memory signature = signLong(keyOf("client"), manager.acceptanceDigest(job, RESULT, NOW));
        bytes32 wrong = keccak256("other");
        notAccepted(job, wrong, NOW, signature);
        notAccepted(job, RESULT, NOW + 1, signature);
        vm.chainId(block.chainid + 1);
        notAccepted(job, RESULT, NOW, signature);
        vm.chainId(block.chainid - 1);
        PaymentManager sibling = new PaymentManager(dollar);
        notAccepted(job, RESULT, NOW, signLong(keyOf("client"), sibling.acceptanceDigest(job, RESULT, NOW)));
        notAccepted(job, RESULT, NOW, signLong(keyOf("provider"), manager.acceptanceDigest(job, RESULT, NOW)));
        notAccepted(job, RESULT, NOW, signLong(keyOf("client"), manager.settlementDigest(job, AMOUNT, NOW)));
        notAccepted(job, RESULT, NOW, "");
        vm.warp(NOW + 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentManager.TooLate.selector, NOW));
        manager.acceptBySignature(job, RESULT, NOW, signature);
        vm.warp(NOW);
        manager.acceptBySignature(job, RESULT, NOW, signature);
        ended(job, AMOUNT);
        vm.expectRevert();
        manager.acceptBySignature(job, RESULT, NOW, signature);
    }

    function test_the_twin_of_an_acceptance_is_refused() external {
        bytes32 job = delivered();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("client"), manager.acceptanceDigest(job, RESULT, NOW));
        bytes32 twin =
            bytes32(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - uint256(s));
        notAccepted(job, RESULT, NOW, abi.encodePacked(r, twin, v == 27 ? uint8(28) : uint8(27)));
    }

    function test_a_wallet_accepts_by_its_owners_signature() external {
        Wallet wallet = new Wallet(client);
        dollar.mint(address(wallet), AMOUNT);
        wallet.call(address(dollar), abi.encodeCall(dollar.approve, (address(manager), AMOUNT)));
        wallet.call(address(manager), abi.encodeCall(manager.create, (terms(), "salt")));
        bytes32 job = manager.nameOf(address(wallet), terms(), "salt");
        vm.prank(provider);
        manager.deliver(job, RESULT);
        bytes memory signature = signLong(keyOf("client"), manager.acceptanceDigest(job, RESULT, NOW));
        wallet.setOwner(arbiter);
        vm.expectRevert(abi.encodeWithSelector(Consent.NotSignedBy.selector, address(wallet)));
        manager.acceptBySignature(job, RESULT, NOW, signature);
        wallet.setOwner(client);
        manager.acceptBySignature(job, RESULT, NOW, signature);
        checkEqual(dollar.balanceOf(provider), AMOUNT, "paid");
    }

    function test_code_in_the_clients_account_does_not_silence_its_key() external {
        bytes32 job = delivered();
        vm.signAndAttachDelegation(address(new Denier()), keyOf("client"));
        manager.acceptBySignature(
            job, RESULT, NOW, signLong(keyOf("client"), manager.acceptanceDigest(job, RESULT, NOW))
        );
        ended(job, AMOUNT);
    }

    // ── Those that cannot be paid ──

    function test_a_blocked_party_does_not_hold_up_the_other() external {
        bytes32 job = disputed();
        dollar.setBlocked(client, true);
        vm.prank(arbiter);
        manager.rule(job, 400);
        checkEqual(dollar.balanceOf(provider), 400, "the provider is paid");
        checkEqual(manager.owed(client), AMOUNT - 400, "the client is owed");
        vm.prank(client);
        manager.collect(accountOf("elsewhere"));
        checkEqual(dollar.balanceOf(accountOf("elsewhere")), AMOUNT - 400, "and takes it elsewhere");
        vm.expectRevert(abi.encodeWithSelector(Dues.NothingOwed.selector, client));
        vm.prank(client);
        manager.collect(accountOf("elsewhere"));
    }

    function test_a_collection_that_fails_leaves_what_is_owed() external {
        bytes32 job = delivered();
        dollar.setBlocked(provider, true);
        vm.prank(client);
        manager.accept(job, RESULT);
        vm.expectRevert();
        vm.prank(provider);
        manager.collect(provider);
        checkEqual(manager.owed(provider), AMOUNT, "still owed");
    }

    // ── Below ──

    function fund(address account) private {
        dollar.mint(account, 10 * AMOUNT);
        vm.prank(account);
        dollar.approve(address(manager), type(uint256).max);
    }

    function terms() private view returns (PaymentManager.Terms memory) {
        return PaymentManager.Terms({
            provider: provider,
            amount: AMOUNT,
            arbiter: arbiter,
            deliverBy: uint64(NOW) + 1 days,
            reviewSeconds: REVIEW,
            ruleSeconds: RULING,
            silenceShare: 3_000,
            specification: keccak256("what to do")
        });
    }

    function created() private returns (bytes32) {
        vm.prank(client);
        return manager.create(terms(), "salt");
    }

    function delivered() private returns (bytes32 job) {
        job = created();
        vm.prank(provider);
        manager.deliver(job, RESULT);
    }

    function disputed() private returns (bytes32 job) {
        job = delivered();
        vm.prank(client);
        manager.dispute(job, "evidence");
        checkEqual(manager.jobOf(job).deadline, NOW + RULING, "to be ruled on until");
    }

    function refusedTerms(PaymentManager.Terms memory bad, bytes4 selector) private {
        vm.prank(client);
        (bool success, bytes memory answer) =
            address(manager).call(abi.encodeCall(manager.create, (bad, "bad")));
        check(!success && bytes4(answer) == selector, "refused for its reason");
    }

    function timesAre(uint64 deliverBy, uint32 review, uint32 ruling, bool sound) private {
        PaymentManager.Terms memory asked = terms();
        (asked.deliverBy, asked.reviewSeconds, asked.ruleSeconds, asked.amount) =
        (deliverBy, review, ruling, 1);
        vm.prank(client);
        (bool success, bytes memory answer) =
            address(manager).call(abi.encodeCall(manager.create, (asked, "times")));
        check(success == sound, "times within bounds and no others");
        check(sound || bytes4(answer) == PaymentManager.TimesOutOfBounds.selector, "for that reason");
    }

    function notParty(bytes32 job, address caller, bytes memory call_) private {
        vm.prank(caller);
        (bool success, bytes memory answer) = address(manager).call(call_);
        bytes memory refusal = abi.encodeWithSelector(PaymentManager.NotParty.selector, job, caller);
        check(!success && keccak256(answer) == keccak256(refusal), "no party of it");
    }

    function notAccepted(bytes32 job, bytes32 result, uint256 deadline, bytes memory signature) private {
        vm.expectRevert(abi.encodeWithSelector(Consent.NotSignedBy.selector, client));
        manager.acceptBySignature(job, result, deadline, signature);
    }

    /// The job is over, everybody has its part, and nothing can be done to it any more.
    function ended(bytes32 job, uint256 toProvider) private {
        checkEqual(dollar.balanceOf(provider), toProvider, "the provider's part");
        checkEqual(dollar.balanceOf(client), 10 * AMOUNT - toProvider, "the client's part");
        checkEqual(dollar.balanceOf(address(manager)), 0, "what is left");
        PaymentManager.Job memory is_ = manager.jobOf(job);
        check(is_.state == PaymentManager.State.Closed && is_.amount == 0, "closed");
        vm.warp(NOW + 1_000 days);
        vm.expectRevert(
            abi.encodeWithSelector(PaymentManager.WrongState.selector, job, PaymentManager.State.Closed)
        );
        manager.close(job);
        vm.warp(NOW);
    }
}
