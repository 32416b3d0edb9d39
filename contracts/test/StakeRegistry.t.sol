// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "./base/Checks.sol";
import {Dollar} from "./base/Dollar.sol";
import {Dues} from "../src/base/Dues.sol";
import {StakeRegistry} from "../src/StakeRegistry.sol";

contract StakeRegistryTest is Checks {
    uint96 private constant STAKE = 10_000;
    uint96 private constant BOND = 50;
    bytes32 private constant KEY = keccak256("an Ed25519 key");
    uint64 private constant UNBOND = 14 days;
    uint64 private constant PROPOSAL = 7 days;
    uint64 private constant ANSWER = 2 days;

    Dollar private dollar;
    StakeRegistry private stakes;
    address private operator = accountOf("operator");
    address private proposer = accountOf("proposer");
    address private judge = accountOf("judge");
    address private commons = accountOf("commons");
    bytes32 private node;

    function setUp() external {
        vm.warp(NOW);
        dollar = new Dollar();
        stakes = new StakeRegistry(dollar, judge, commons, BOND);
        fund(operator);
        fund(proposer);
        vm.prank(operator);
        node = stakes.register(KEY, new bytes(64), "did:key:z6MkNode", 3);
        vm.prank(operator);
        stakes.stake(node, STAKE);
    }

    // ── Records ──

    function test_a_deployment_names_its_judge_and_its_commons() external {
        vm.expectRevert(Dues.ZeroAddress.selector);
        new StakeRegistry(dollar, address(0), commons, BOND);
        vm.expectRevert(Dues.ZeroAddress.selector);
        new StakeRegistry(dollar, judge, address(0), BOND);
        vm.expectRevert(Dues.ZeroAddress.selector);
        new StakeRegistry(Dollar(address(0)), judge, commons, BOND);
        vm.expectRevert(StakeRegistry.JudgeIsCommons.selector);
        new StakeRegistry(dollar, judge, judge, BOND);
        vm.expectRevert(StakeRegistry.BondMinimumZero.selector);
        new StakeRegistry(dollar, judge, commons, 0);
    }

    function test_a_record_says_what_was_registered() external {
        StakeRegistry.Node memory is_ = stakes.nodeOf(node);
        check(is_.operator == operator && is_.services == 3, "operator and services");
        check(is_.didHash == keccak256("did:key:z6MkNode"), "the DID");
        // libp2p's form of an Ed25519 public key, under the identity multihash of 36 bytes.
        check(is_.peerIdHash == keccak256(abi.encodePacked(hex"002408011220", KEY)), "the peer id");
        vm.prank(operator);
        bytes32 again = stakes.register(KEY, new bytes(64), "did:web:node.example", 7);
        check(again == node, "the same node");
        is_ = stakes.nodeOf(node);
        check(is_.services == 7 && is_.didHash == keccak256("did:web:node.example"), "recorded anew");
        checkEqual(is_.bonded, STAKE, "the stake is where it was");
    }

    function test_registering_anothers_key_first_takes_nothing_from_its_owner() external {
        address front = accountOf("front-runner");
        bytes32 key = keccak256("another key");
        vm.prank(front);
        bytes32 theirs = stakes.register(key, new bytes(64), "did:key:z6MkFront", 1);
        vm.prank(operator);
        bytes32 ours = stakes.register(key, new bytes(64), "did:key:z6MkOwner", 1);
        check(ours != theirs, "each under its own name");
        check(stakes.nodeOf(ours).operator == operator, "the owner's record is its own");
    }

    function test_the_binding_names_chain_contract_and_operator() external {
        bytes memory wanted =
            abi.encodePacked("blackhole/stake/binding/1", hex"00", block.chainid, address(stakes), operator);
        check(keccak256(stakes.bindingMessage(operator)) == keccak256(wanted), "the message");
        vm.chainId(block.chainid + 1);
        check(
            keccak256(stakes.bindingMessage(operator)) != keccak256(wanted), "another chain, another message"
        );
    }

    function test_records_that_say_too_little_or_too_much_are_refused() external {
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.SignatureLengthWrong.selector, 63));
        stakes.register(KEY, new bytes(63), "did:key:z", 1);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.DidLengthWrong.selector, 0));
        stakes.register(KEY, new bytes(64), "", 1);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.DidLengthWrong.selector, 257));
        stakes.register(KEY, new bytes(64), string(new bytes(257)), 1);
        stakes.register(KEY, new bytes(64), string(new bytes(256)), 1);
        vm.expectRevert(StakeRegistry.NoServices.selector);
        stakes.register(KEY, new bytes(64), "did:key:z", 0);
    }

    // ── Staking ──

    function test_only_the_operator_touches_its_stake() external {
        notOperator(abi.encodeCall(stakes.stake, (node, 1)));
        notOperator(abi.encodeCall(stakes.unbond, (node, 1)));
        notOperator(abi.encodeCall(stakes.rebond, (node)));
        notOperator(abi.encodeCall(stakes.withdraw, (node, proposer)));
        vm.expectRevert(Dues.ZeroAmount.selector);
        vm.prank(operator);
        stakes.stake(node, 0);
    }

    function test_a_stake_grows() external {
        vm.prank(operator);
        stakes.stake(node, 1);
        holds(STAKE + 1, 0);
    }

    function test_a_stake_is_taken_out_after_its_time() external {
        unbond(4_000);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.TooEarly.selector, NOW + UNBOND));
        vm.prank(operator);
        stakes.withdraw(node, operator);
        vm.warp(NOW + UNBOND - 1);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.TooEarly.selector, NOW + UNBOND));
        vm.prank(operator);
        stakes.withdraw(node, operator);
        vm.warp(NOW + UNBOND);
        vm.prank(operator);
        stakes.withdraw(node, accountOf("elsewhere"));
        checkEqual(dollar.balanceOf(accountOf("elsewhere")), 4_000, "taken out");
        holds(STAKE - 4_000, 0);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NothingUnbonding.selector, node));
        vm.prank(operator);
        stakes.withdraw(node, operator);
    }

    function test_a_withdrawal_to_where_nothing_can_go_has_not_happened() external {
        unbond(4_000);
        vm.warp(NOW + UNBOND);
        dollar.setBlocked(operator, true);
        vm.expectRevert();
        vm.prank(operator);
        stakes.withdraw(node, operator);
        holds(STAKE - 4_000, 4_000);
    }

    function test_no_more_is_unbonded_than_is_bonded_and_a_mind_may_be_changed() external {
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.StakeTooLow.selector, STAKE, STAKE + 1));
        vm.prank(operator);
        stakes.unbond(node, STAKE + 1);
        vm.expectRevert(Dues.ZeroAmount.selector);
        vm.prank(operator);
        stakes.unbond(node, 0);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NothingUnbonding.selector, node));
        vm.prank(operator);
        stakes.rebond(node);
        unbond(STAKE);
        vm.prank(operator);
        stakes.rebond(node);
        holds(STAKE, 0);
        checkEqual(stakes.nodeOf(node).releaseAt, 0, "nothing is waiting");
        checkEqual(stakes.slashableOf(node), STAKE, "slashable as before");
    }

    function test_unbonding_more_waits_anew() external {
        unbond(1_000);
        vm.warp(NOW + UNBOND - 1);
        unbond(1_000);
        checkEqual(stakes.nodeOf(node).releaseAt, NOW + 2 * UNBOND - 1, "anew");
        holds(STAKE - 2_000, 2_000);
    }

    // ── Slashing ──

    function test_a_claim_has_a_cap_and_a_bond() external {
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.AboveCap.selector, 2_001, 2_000));
        vm.prank(proposer);
        stakes.propose(node, 2_001, "evidence");
        vm.expectRevert(Dues.ZeroAmount.selector);
        vm.prank(proposer);
        stakes.propose(node, 0, "evidence");
        uint256 proposal = propose(2_000);
        StakeRegistry.Proposal memory is_ = stakes.proposalOf(proposal);
        check(is_.node == node && is_.proposer == proposer && is_.evidence == "evidence", "what is proposed");
        checkEqual(is_.bond, 200, "a tenth");
        checkEqual(stakes.bondFor(499), BOND, "at least the minimum");
        checkEqual(stakes.bondFor(510), 51, "a tenth above it");
        checkEqual(dollar.balanceOf(address(stakes)), STAKE + 200, "the bond is held");
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.AboveCap.selector, 1, 0));
        vm.prank(proposer);
        stakes.propose(keccak256("nobody's node"), 1, "evidence");
    }

    function test_upheld_the_claim_is_split_between_proposer_and_commons() external {
        uint256 proposal = propose(2_000);
        vm.prank(operator);
        stakes.answer(proposal, "it was not me");
        vm.warp(NOW + ANSWER);
        vm.prank(judge);
        stakes.uphold(proposal);
        holds(STAKE - 2_000, 0);
        checkEqual(stakes.owed(proposer), 200 + 200, "the bond and a tenth");
        checkEqual(stakes.owed(commons), 1_800, "the rest");
        gone(proposal);
        vm.prank(commons);
        stakes.collect(commons);
        vm.prank(proposer);
        stakes.collect(proposer);
        checkEqual(dollar.balanceOf(address(stakes)), STAKE - 2_000, "what is left is the stake");
    }

    function test_rejected_the_bond_is_the_operators() external {
        uint256 proposal = propose(2_000);
        vm.warp(NOW + ANSWER);
        vm.prank(judge);
        stakes.reject(proposal);
        holds(STAKE, 0);
        checkEqual(stakes.owed(operator), 200, "the bond");
        gone(proposal);
    }

    function test_on_silence_a_proposal_is_void() external {
        uint256 proposal = propose(2_000);
        vm.warp(NOW + PROPOSAL - 1);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.TooEarly.selector, NOW + PROPOSAL));
        stakes.lapse(proposal);
        vm.warp(NOW + PROPOSAL);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.TooLate.selector, NOW + PROPOSAL));
        vm.prank(judge);
        stakes.uphold(proposal);
        stakes.lapse(proposal);
        holds(STAKE, 0);
        checkEqual(stakes.owed(proposer), 200, "the bond goes back");
        gone(proposal);
    }

    function test_the_operator_is_heard_before_the_judge_rules() external {
        uint256 proposal = propose(2_000);
        vm.warp(NOW + ANSWER - 1);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.TooEarly.selector, NOW + ANSWER));
        vm.prank(judge);
        stakes.uphold(proposal);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.TooEarly.selector, NOW + ANSWER));
        vm.prank(judge);
        stakes.reject(proposal);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotOperator.selector, node, proposer));
        vm.prank(proposer);
        stakes.answer(proposal, "not mine to say");
    }

    function test_only_the_judge_rules() external {
        uint256 proposal = propose(2_000);
        vm.warp(NOW + ANSWER);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotJudge.selector, proposer));
        vm.prank(proposer);
        stakes.uphold(proposal);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotJudge.selector, operator));
        vm.prank(operator);
        stakes.reject(proposal);
    }

    function test_unbonding_does_not_flee_a_proposal() external {
        uint256 proposal = propose(2_000);
        unbond(STAKE);
        vm.warp(NOW + PROPOSAL - 1);
        vm.prank(judge);
        stakes.uphold(proposal);
        holds(0, STAKE - 2_000);
    }

    function test_what_is_taken_comes_from_the_unbonding_first_and_never_from_more_than_there_is() external {
        unbond(500);
        uint256 proposal = propose(2_000);
        vm.warp(NOW + ANSWER);
        vm.prank(judge);
        stakes.uphold(proposal);
        holds(STAKE - 500 - 1_500, 0);
        // Ten claims of a fifth each find what the earlier ones have left.
        uint256[10] memory many;
        for (uint256 index = 0; index < 10; ++index) {
            many[index] = propose(1_600);
        }
        vm.warp(NOW + 2 * ANSWER);
        for (uint256 index = 0; index < 10; ++index) {
            vm.prank(judge);
            stakes.uphold(many[index]);
        }
        holds(0, 0);
        checkEqual(
            dollar.balanceOf(address(stakes)), stakes.owed(proposer) + stakes.owed(commons), "all is owed"
        );
        checkEqual(stakes.owed(commons), STAKE - STAKE / 10, "no more than there was");
    }

    // ── No stake is frozen ──

    function test_a_proposal_in_time_delays_a_withdrawal_and_reaches_it() external {
        unbond(STAKE);
        vm.warp(NOW + UNBOND - 1);
        uint256 proposal = propose(2_000);
        vm.warp(NOW + UNBOND);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.TooEarly.selector, NOW + UNBOND - 1 + PROPOSAL));
        vm.prank(operator);
        stakes.withdraw(node, operator);
        vm.warp(NOW + UNBOND - 1 + ANSWER);
        vm.prank(judge);
        stakes.uphold(proposal);
        holds(0, STAKE - 2_000);
        vm.warp(NOW + UNBOND - 1 + PROPOSAL);
        vm.prank(operator);
        stakes.withdraw(node, operator);
        holds(0, 0);
    }

    function test_a_proposal_after_its_time_neither_reaches_nor_delays_a_withdrawal() external {
        unbond(STAKE / 2);
        vm.warp(NOW + UNBOND);
        checkEqual(stakes.slashableOf(node), STAKE / 2, "only what is bonded");
        uint256 proposal = propose(1_000);
        vm.warp(NOW + UNBOND + ANSWER);
        vm.prank(judge);
        stakes.uphold(proposal);
        holds(STAKE / 2 - 1_000, STAKE / 2);
        propose(100);
        vm.prank(operator);
        stakes.withdraw(node, operator);
    }

    function testFuzz_nobody_freezes_a_stake_for_ever(uint256 seed) external {
        unbond(STAKE);
        // Proposals at any time, as many as one likes, and a judge that never speaks.
        uint256 time = NOW;
        for (uint256 index = 0; index < 12; ++index) {
            time += uint256(keccak256(abi.encode(seed, index))) % 4 days;
            vm.warp(time);
            if (stakes.slashableOf(node) > 0) propose(BOND);
        }
        vm.warp(time > NOW + UNBOND + PROPOSAL ? time : NOW + UNBOND + PROPOSAL);
        vm.prank(operator);
        stakes.withdraw(node, operator);
        holds(0, 0);
    }

    // ── Below ──

    function fund(address account) private {
        dollar.mint(account, 100_000);
        vm.prank(account);
        dollar.approve(address(stakes), type(uint256).max);
    }

    function unbond(uint96 amount) private {
        vm.prank(operator);
        stakes.unbond(node, amount);
    }

    function propose(uint96 amount) private returns (uint256) {
        vm.prank(proposer);
        return stakes.propose(node, amount, "evidence");
    }

    function notOperator(bytes memory call_) private {
        vm.prank(proposer);
        (bool success, bytes memory answer) = address(stakes).call(call_);
        check(!success, "refused");
        check(bytes4(answer) == StakeRegistry.NotOperator.selector, "as nobody of this node");
    }

    function gone(uint256 proposal) private {
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NoProposal.selector, proposal));
        vm.prank(judge);
        stakes.uphold(proposal);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NoProposal.selector, proposal));
        stakes.lapse(proposal);
    }

    function holds(uint256 bonded, uint256 unbonding) private view {
        checkEqual(stakes.nodeOf(node).bonded, bonded, "bonded");
        checkEqual(stakes.nodeOf(node).unbonding, unbonding, "unbonding");
    }
}
