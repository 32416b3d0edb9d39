// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Hostility, Watched} from "./Hostility.sol";
import {Tree} from "../base/Tree.sol";
import {Payouts} from "../../src/Payouts.sol";
import {ReputationAnchor} from "../../src/ReputationAnchor.sol";

/// Payers that promise what they locked, or more, to earners that claim their own shares and others'.
contract PayoutsWorld is Hostility {
    uint256 private constant EARNERS = 5;
    uint64 private constant EPOCHS = 3;

    Payouts public payouts;
    mapping(uint256 payout => bytes32[]) private _leaves;
    mapping(uint256 payout => uint256 amount) private _locked;
    mapping(uint256 payout => uint256 amount) private _paid;
    mapping(uint256 payout => mapping(uint256 index => bool)) private _wasPaid;

    constructor() {
        payouts = new Payouts(_begin());
        _watch(address(payouts));
    }

    function open(uint256 who, uint64 epoch, uint256 seed) external {
        uint256 name = _name(who, epoch);
        bytes32[] memory leaves = new bytes32[](EARNERS);
        uint96 sum = 0;
        for (uint256 index = 0; index < EARNERS; ++index) {
            sum += _amount(name, index);
            leaves[index] =
                payouts.leafOf(actor(who), epoch % EPOCHS, index, actor(index), _amount(name, index));
        }
        if (seed % 4 == 0) sum /= 2; // promises more than it locks
        uint64 expiresAt = uint64(block.timestamp + 6 days + seed % 30 days);
        (bool success,) = act(
            actor(who),
            seed,
            abi.encodeCall(payouts.open, (epoch % EPOCHS, Tree.root(leaves), sum, expiresAt))
        );
        if (!success) return;
        checkEqual(_locked[name], 0, "an epoch is opened once");
        (_leaves[name], _locked[name]) = (leaves, sum);
    }

    function claim(uint256 caller, uint256 who, uint64 epoch, uint256 index, uint8 wrong) external {
        uint256 name = _name(who, epoch);
        Payouts.Share memory share = _share(name, index);
        if (wrong % 8 == 1) share.amount += 1;
        if (wrong % 8 == 2) share.account = actor(caller);
        if (wrong % 8 == 3) share.index = (share.index + 1) % EARNERS;
        (bool success,) =
            act(actor(caller), index, abi.encodeCall(payouts.claim, (actor(who), epoch % EPOCHS, share)));
        if (success) _note(name, share);
    }

    function claim_many(uint256 caller, uint256 who, uint64 epoch, uint256 seed) external {
        uint256 name = _name(who, epoch);
        Payouts.Share[] memory shares = new Payouts.Share[](seed % 4);
        bool[] memory before = new bool[](EARNERS);
        for (uint256 index = 0; index < EARNERS; ++index) {
            before[index] = payouts.isClaimed(actor(who), epoch % EPOCHS, index);
        }
        for (uint256 index = 0; index < shares.length; ++index) {
            shares[index] = _share(name, seed >> (8 + 8 * index));
        }
        (bool success,) =
            act(actor(caller), seed, abi.encodeCall(payouts.claimMany, (actor(who), epoch % EPOCHS, shares)));
        if (!success) return;
        for (uint256 index = 0; index < EARNERS; ++index) {
            bool now_ = payouts.isClaimed(actor(who), epoch % EPOCHS, index);
            if (now_ && !before[index]) _note(name, _share(name, index));
        }
    }

    function reclaim(uint256 who, uint64 epoch) external {
        (, uint96 left, uint64 expiresAt) = payouts.payoutOf(actor(who), epoch % EPOCHS);
        (bool success,) = act(actor(who), epoch, abi.encodeCall(payouts.reclaim, (epoch % EPOCHS)));
        if (!success) return;
        check(block.timestamp >= expiresAt, "nothing is returned before its time");
        _paid[_name(who, epoch)] += left;
    }

    function collect(uint256 who, uint256 to) external {
        act(actor(who), to, abi.encodeCall(payouts.collect, (actor(to))));
    }

    function check_books() external view override {
        uint256 sum = 0;
        for (uint256 who = 0; who < ACTORS; ++who) {
            sum += payouts.owed(actor(who));
            for (uint64 epoch = 0; epoch < EPOCHS; ++epoch) {
                (, uint96 left,) = payouts.payoutOf(actor(who), epoch);
                uint256 name = _name(who, epoch);
                checkEqual(left + _paid[name], _locked[name], "what was locked is left, paid or returned");
                sum += left;
            }
        }
        checkEqual(held(), sum + surplus, "what is held is left or owed");
    }

    /// Whatever has happened: when every payout has expired, payers get back what nobody took, and all is paid.
    function check_end() external override {
        vm.warp(block.timestamp + payouts.OPEN_SECONDS_MAX());
        for (uint256 who = 0; who < ACTORS; ++who) {
            token.setBlocked(actor(who), false);
        }
        for (uint256 who = 0; who < ACTORS; ++who) {
            for (uint64 epoch = 0; epoch < EPOCHS; ++epoch) {
                (, uint96 left,) = payouts.payoutOf(actor(who), epoch);
                if (left == 0) continue;
                vm.prank(actor(who));
                payouts.reclaim(epoch);
            }
            if (payouts.owed(actor(who)) == 0) continue;
            vm.prank(actor(who));
            payouts.collect(actor(who));
        }
        checkEqual(held(), 0, "nothing is left behind");
    }

    function _note(uint256 name, Payouts.Share memory share) private {
        check(!_wasPaid[name][share.index], "a share is paid once");
        Payouts.Share memory right = _share(name, share.index);
        check(
            share.amount == right.amount && share.account == right.account, "to whom and what the root says"
        );
        _wasPaid[name][share.index] = true;
        _paid[name] += share.amount;
    }

    function _share(uint256 name, uint256 index) private view returns (Payouts.Share memory) {
        index %= EARNERS;
        bytes32[] memory proof;
        if (_leaves[name].length > 0) proof = Tree.proof(_leaves[name], index);
        return Payouts.Share(index, actor(index), _amount(name, index), proof);
    }

    function _name(uint256 who, uint64 epoch) private pure returns (uint256) {
        return (who % ACTORS) * EPOCHS + epoch % EPOCHS;
    }

    function _amount(uint256 name, uint256 index) private pure returns (uint96) {
        return uint96(uint256(keccak256(abi.encode(name, index))) % 1e6);
    }

    function _reentry(uint256 seed) internal view override returns (bytes memory) {
        if (seed % 2 == 0) return abi.encodeCall(payouts.collect, (actor(seed)));
        uint256 name = _name(seed, uint64(seed));
        return abi.encodeCall(payouts.claim, (actor(seed), uint64(seed % EPOCHS), _share(name, seed >> 64)));
    }
}

contract PayoutsInvariants is Watched {
    PayoutsWorld private world;

    function setUp() external {
        world = new PayoutsWorld();
    }

    function invariant_what_was_locked_is_left_paid_or_returned() external view {
        world.check_books();
    }

    function _world() internal view override returns (Hostility) {
        return world;
    }
}

/// Publishers that anchor in any order.
contract AnchorsWorld is Hostility {
    ReputationAnchor public reputation;
    mapping(address publisher => mapping(uint64 epoch => bytes32 root)) private _seen;
    /// How far back an anchor is looked at after each act: a world's whole life is in it, a part at a time.
    uint64 private constant EPOCHS = 300;
    uint64 private _looked;

    constructor() {
        _begin();
        reputation = new ReputationAnchor(1 days);
        _watch(address(reputation));
    }

    function anchor(uint256 who, uint64 back, bytes32 root) external {
        uint64 epoch = uint64(block.timestamp / 1 days) + 1 - back % 6;
        uint64 next = reputation.nextOf(actor(who));
        (bool success,) = act(actor(who), back, abi.encodeCall(reputation.anchor, (epoch, root, root)));
        bool due = root != 0 && epoch >= next && (uint256(epoch) + 1) * 1 days <= block.timestamp;
        check(success == due, "an epoch is anchored after its end, once and in order");
        if (success) _seen[actor(who)][epoch] = root;
    }

    function check_books() external override {
        uint64 today = uint64(block.timestamp / 1 days);
        for (uint256 who = 0; who < ACTORS; ++who) {
            uint64 next = reputation.nextOf(actor(who));
            if (next > 0) _check(actor(who), next - 1);
            _check(actor(who), next);
            _check(actor(who), today + 1 - _looked % EPOCHS);
            ++_looked;
        }
    }

    function _check(address publisher, uint64 epoch) private view {
        (bytes32 root,,) = reputation.anchorOf(publisher, epoch);
        check(root == _seen[publisher][epoch], "what was anchored stays, and nothing else is there");
    }

    function _reentry(uint256) internal pure override returns (bytes memory) {
        return "";
    }
}

contract AnchorsInvariants is Watched {
    AnchorsWorld private world;

    function setUp() external {
        world = new AnchorsWorld();
    }

    function invariant_what_was_anchored_stays() external {
        world.check_books();
    }

    function _world() internal view override returns (Hostility) {
        return world;
    }
}
