// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "./base/Checks.sol";
import {Tree} from "./base/Tree.sol";
import {ReputationAnchor} from "../src/ReputationAnchor.sol";

contract ReputationAnchorTest is Checks {
    uint64 private constant EPOCH_SECONDS = 1 days;
    uint64 private constant LAST = uint64(NOW / EPOCH_SECONDS) - 1;

    ReputationAnchor private reputation;
    address private publisher = accountOf("publisher");

    function setUp() external {
        vm.warp(NOW);
        reputation = new ReputationAnchor(EPOCH_SECONDS);
    }

    function test_epochs_have_a_length_within_bounds() external {
        uint64 least = reputation.EPOCH_SECONDS_MIN();
        uint64 most = reputation.EPOCH_SECONDS_MAX();
        vm.expectRevert(abi.encodeWithSelector(ReputationAnchor.EpochSecondsOutOfBounds.selector, least - 1));
        new ReputationAnchor(least - 1);
        vm.expectRevert(abi.encodeWithSelector(ReputationAnchor.EpochSecondsOutOfBounds.selector, most + 1));
        new ReputationAnchor(most + 1);
        checkEqual(new ReputationAnchor(least).epochSeconds(), least, "the least");
        checkEqual(new ReputationAnchor(most).epochSeconds(), most, "the most");
    }

    function test_an_epoch_is_anchored_once_after_it_ended_and_in_order() external {
        vm.expectRevert(ReputationAnchor.NoRoot.selector);
        reputation.anchor(LAST, 0, "receipts");
        uint64 endsAt = (LAST + 2) * EPOCH_SECONDS;
        vm.expectRevert(abi.encodeWithSelector(ReputationAnchor.EpochNotOver.selector, endsAt));
        reputation.anchor(LAST + 1, "root", "receipts");
        vm.warp(endsAt - 1);
        vm.expectRevert(abi.encodeWithSelector(ReputationAnchor.EpochNotOver.selector, endsAt));
        reputation.anchor(LAST + 1, "root", "receipts");
        vm.warp(endsAt);
        reputation.anchor(LAST + 1, "root", "receipts");
        (bytes32 root, bytes32 receipts, uint64 anchoredAt) = reputation.anchorOf(address(this), LAST + 1);
        check(root == "root" && receipts == "receipts", "what was anchored");
        checkEqual(anchoredAt, endsAt, "when");
        checkEqual(reputation.nextOf(address(this)), LAST + 2, "what comes next");
        vm.expectRevert(abi.encodeWithSelector(ReputationAnchor.EpochNotNewer.selector, LAST + 2));
        reputation.anchor(LAST + 1, "other", "receipts");
        vm.expectRevert(abi.encodeWithSelector(ReputationAnchor.EpochNotNewer.selector, LAST + 2));
        reputation.anchor(LAST, "other", "receipts");
    }

    function test_epochs_follow_on_each_other_from_the_first() external {
        for (uint64 epoch = LAST - 2; epoch <= LAST; ++epoch) {
            reputation.anchor(epoch, "root", "receipts");
            checkEqual(reputation.nextOf(address(this)), epoch + 1, "what comes next");
        }
    }

    function test_nobody_anchors_in_anothers_name() external {
        reputation.anchor(LAST, "theirs", "receipts");
        (bytes32 root,,) = reputation.anchorOf(publisher, LAST);
        check(root == 0, "nothing is the publisher's");
        vm.prank(publisher);
        reputation.anchor(LAST, "ours", "receipts");
        (root,,) = reputation.anchorOf(publisher, LAST);
        check(root == "ours", "its own");
    }

    function test_a_score_is_proven_as_it_was_anchored() external {
        bytes32[] memory leaves = new bytes32[](5);
        for (uint256 index = 0; index < 5; ++index) {
            leaves[index] =
                reputation.leafOf(publisher, LAST, keccak256(abi.encode(index)), uint32(100 * index));
        }
        vm.prank(publisher);
        reputation.anchor(LAST, Tree.root(leaves), "receipts");
        bytes32[] memory proof = Tree.proof(leaves, 3);
        bytes32 peer = keccak256(abi.encode(3));
        check(reputation.isProven(publisher, LAST, peer, 300, proof), "the score");
        check(!reputation.isProven(publisher, LAST, peer, 301, proof), "no other score");
        check(!reputation.isProven(publisher, LAST, keccak256("x"), 300, proof), "no other peer");
        check(!reputation.isProven(publisher, LAST - 1, peer, 300, proof), "no other epoch");
        check(!reputation.isProven(address(this), LAST, peer, 300, proof), "no other publisher");
        vm.chainId(block.chainid + 1);
        check(!reputation.isProven(publisher, LAST, peer, 300, proof), "no other chain");
        check(!reputation.isProven(publisher, LAST, peer, 300, new bytes32[](32)), "the longest, and wrong");
        vm.expectRevert(abi.encodeWithSelector(ReputationAnchor.ProofTooLong.selector, 33));
        reputation.isProven(publisher, LAST, peer, 300, new bytes32[](33));
    }
}
