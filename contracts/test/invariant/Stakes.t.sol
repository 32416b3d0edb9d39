// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Hostility, Watched} from "./Hostility.sol";
import {StakeRegistry} from "../../src/StakeRegistry.sol";

/// Every actor operates a node, accuses the others, and one of them is the judge.
contract StakesWorld is Hostility {
    StakeRegistry public stakes;
    address private constant COMMONS = address(0xc0);
    bytes32[] private nodes;
    /// When each node last began to unbond.
    mapping(uint256 node => uint256 time) private _unbondedAt;

    constructor() {
        stakes = new StakeRegistry(_begin(), actor(0), COMMONS, 10);
        _watch(address(stakes));
        for (uint256 index = 0; index < ACTORS; ++index) {
            vm.prank(actor(index));
            nodes.push(stakes.register(bytes32(index), new bytes(64), "did:key:z", 1));
        }
    }

    function register_anew(uint256 who, uint32 services) external {
        bytes32 node = nodes[who % ACTORS];
        (bool success, bytes memory name) = act(
            actor(who),
            services,
            abi.encodeCall(
                stakes.register, (bytes32(who % ACTORS), new bytes(64), "did:key:other", services % 4)
            )
        );
        check(success == (services % 4 != 0), "a record with services is taken");
        check(!success || abi.decode(name, (bytes32)) == node, "and is the same node's");
    }

    function answer(uint256 who, uint256 which) external {
        uint256 number = _proposal(which);
        bytes32 accused = stakes.proposalOf(number).node;
        (bool success,) = act(actor(who), which, abi.encodeCall(stakes.answer, (number, "answer")));
        check(!success || accused == nodes[who % ACTORS], "only the accused answers");
    }

    function stake(uint256 who, uint256 which, uint96 amount) external {
        who = _focus(who);
        act(actor(who), amount, abi.encodeCall(stakes.stake, (_node(who, which), amount % 1e9)));
    }

    function unbond(uint256 who, uint256 which, uint96 amount) external {
        who = _focus(who);
        bytes32 node = _node(who, which);
        // Seldom where something is ready to be taken out: it would wait anew, and nothing would ever be ready.
        if (
            block.timestamp >= stakes.nodeOf(node).releaseAt && stakes.nodeOf(node).unbonding > 0
                && amount % 8 > 0
        ) {
            return;
        }
        amount = uint96(amount % (stakes.nodeOf(node).bonded + uint256(2)));
        (bool success,) = act(actor(who), which, abi.encodeCall(stakes.unbond, (node, amount)));
        if (success) _unbondedAt[who % ACTORS] = block.timestamp;
    }

    function rebond(uint256 who, uint256 which) external {
        act(actor(who), which, abi.encodeCall(stakes.rebond, (_node(who, which))));
    }

    function withdraw(uint256 who, uint256 which, uint256 to) external {
        bytes32 node = _node(who, which);
        (bool success,) = act(actor(who), to, abi.encodeCall(stakes.withdraw, (node, actor(to))));
        if (!success) return;
        check(node == nodes[who % ACTORS], "only its operator takes a stake out");
        check(
            block.timestamp >= _unbondedAt[who % ACTORS] + stakes.UNBOND_SECONDS(), "nothing leaves too soon"
        );
    }

    function propose(uint256 who, uint256 which, uint96 amount) external {
        bytes32 node = nodes[_focus(which)];
        uint256 cap = stakes.slashableOf(node) / 5;
        amount = uint96(amount % (cap + 2));
        (bool success,) = act(actor(who), which, abi.encodeCall(stakes.propose, (node, amount, "evidence")));
        check(!success || amount <= cap, "no claim above its cap");
    }

    function uphold(uint256 who, uint256 which, bool right, bool inTime) external {
        uint256 number = _proposal(which);
        if (inTime) _reach(stakes.proposalOf(number).openedAt + 2 days, 1);
        StakeRegistry.Proposal memory proposal = stakes.proposalOf(number);
        StakeRegistry.Node memory before = stakes.nodeOf(proposal.node);
        (bool success,) = act(actor(right ? 0 : who), which, abi.encodeCall(stakes.uphold, (number)));
        if (!success) return;
        StakeRegistry.Node memory after_ = stakes.nodeOf(proposal.node);
        uint256 taken = uint256(before.bonded) + before.unbonding - uint256(after_.bonded) - after_.unbonding;
        check(taken <= proposal.amount, "no more is taken than was claimed");
        check(
            after_.unbonding == before.unbonding || proposal.openedAt < before.releaseAt,
            "what was out of reach is not touched"
        );
    }

    function reject(uint256 who, uint256 which, bool right) external {
        act(actor(right ? 0 : who), which, abi.encodeCall(stakes.reject, (_proposal(which))));
    }

    function lapse(uint256 who, uint256 which) external {
        act(actor(who), which, abi.encodeCall(stakes.lapse, (_proposal(which))));
    }

    function collect(uint256 who, uint256 to) external {
        act(actor(who), to, abi.encodeCall(stakes.collect, (actor(to))));
    }

    function time_reaches_a_release(uint256 which, uint256 seed) external {
        StakeRegistry.Node memory node = stakes.nodeOf(nodes[_focus(which)]);
        _reach(seed % 2 == 0 ? node.releaseAt : node.heldUntil, seed >> 1);
    }

    function time_reaches_a_ruling(uint256 which, uint256 seed) external {
        uint64 openedAt = stakes.proposalOf(_proposal(which)).openedAt;
        _reach(openedAt + (seed % 2 == 0 ? 2 days : 7 days), seed >> 1);
    }

    // ── What must hold ──

    function check_books() external view override {
        uint256 sum = stakes.owed(COMMONS);
        for (uint256 index = 0; index < ACTORS; ++index) {
            StakeRegistry.Node memory node = stakes.nodeOf(nodes[index]);
            check(node.operator == actor(index), "a node keeps its operator");
            check(
                node.heldUntil <= block.timestamp || node.releaseAt == 0
                    || node.heldUntil <= node.releaseAt + stakes.PROPOSAL_SECONDS(),
                "no hold outlasts its bound"
            );
            sum += uint256(node.bonded) + node.unbonding + stakes.owed(actor(index));
        }
        for (uint256 number = 1; number <= stakes.proposalCount(); ++number) {
            sum += stakes.proposalOf(number).bond;
        }
        checkEqual(held(), sum + surplus, "what is held is staked, bonded or owed");
    }

    /// Whatever has happened, and whatever is proposed meanwhile: every stake can be taken out.
    function check_end() external override {
        for (uint256 index = 0; index < ACTORS; ++index) {
            token.setBlocked(actor(index), false);
            uint96 bonded = stakes.nodeOf(nodes[index]).bonded;
            vm.prank(actor(index));
            if (bonded > 0) stakes.unbond(nodes[index], bonded);
            else stakes.nodeOf(nodes[index]);
        }
        vm.warp(block.timestamp + stakes.UNBOND_SECONDS() - 1);
        for (uint256 index = 0; index < ACTORS; ++index) {
            if (stakes.slashableOf(nodes[index]) < 5) continue;
            act(actor(index + 1), 9, abi.encodeCall(stakes.propose, (nodes[index], 1, "to delay")));
        }
        vm.warp(block.timestamp + stakes.PROPOSAL_SECONDS() + 1);
        for (uint256 index = 0; index < ACTORS; ++index) {
            if (stakes.nodeOf(nodes[index]).unbonding == 0) continue;
            vm.prank(actor(index));
            stakes.withdraw(nodes[index], actor(index));
        }
    }

    // ── Below ──

    /// Every other time the first: a long story needs acts about the same node.
    function _focus(uint256 which) private pure returns (uint256) {
        return which % 2 == 0 ? 0 : which % ACTORS;
    }

    /// Mostly one's own, sometimes another's.
    function _node(uint256 who, uint256 which) private view returns (bytes32) {
        return which % 8 == 0 ? nodes[(which >> 8) % ACTORS] : nodes[who % ACTORS];
    }

    function _proposal(uint256 which) private view returns (uint256) {
        uint256 count = stakes.proposalCount();
        if (count == 0) return which;
        // Every other time the newest: the judge may still rule on it.
        return which % 2 == 0 ? count : 1 + (which >> 1) % count;
    }

    function _reentry(uint256 seed) internal view override returns (bytes memory) {
        if (seed % 2 == 0) return abi.encodeCall(stakes.collect, (actor(seed)));
        return abi.encodeCall(stakes.propose, (nodes[seed % ACTORS], 1, "inside"));
    }
}

contract StakesInvariants is Watched {
    StakesWorld private world;

    function setUp() external {
        world = new StakesWorld();
    }

    function invariant_stakes_bonds_and_dues_are_what_is_held() external view {
        world.check_books();
    }

    function _world() internal view override returns (Hostility) {
        return world;
    }
}
