// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Checks} from "../base/Checks.sol";
import {HostileToken} from "../base/HostileToken.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// A world in which everybody does anything at any time, and the token misbehaves every fourth time.
///
/// What forge calls at random are the external functions of those that inherit; each calls the contract as an actor
/// and never reverts itself, unless what must hold does not.
abstract contract Hostility is Checks {
    uint256 internal constant ACTORS = 4;

    /// Their accounts: to compute one from its key is what a world would otherwise spend its time on.
    address[ACTORS] private _actors;

    HostileToken internal token;
    /// The contract whose books are watched.
    address internal books;
    /// What rebases have given the contract beyond its books.
    uint256 public surplus;

    function _begin() internal returns (IERC20) {
        vm.warp(NOW);
        token = new HostileToken();
        for (uint256 index = 0; index < ACTORS; ++index) {
            _actors[index] = vm.addr(keyOfActor(index));
            token.mint(actor(index), 1e12);
        }
        return IERC20(address(token));
    }

    function _watch(address books_) internal {
        books = books_;
        for (uint256 index = 0; index < ACTORS; ++index) {
            vm.prank(actor(index));
            token.approve(books_, type(uint256).max);
        }
    }

    // ── What must hold ──

    /// After each act.
    function check_books() external virtual;

    /// When everybody has fallen silent, and the token can still move every amount exactly. A rebase may leave amounts
    /// that it cannot: such a token is no token for this.
    function check_end() external virtual {}

    function tokenIsExact() external view returns (bool) {
        return token.index() == 1e18;
    }

    // ── What anyone can always do ──

    /// Mostly little: deadlines of hours and of weeks shall both be met, and both be missed.
    function time_passes(uint256 seconds_) external {
        uint256 most = seconds_ % 8 == 0 ? 10 days : seconds_ % 8 < 4 ? 1 days : 30 minutes;
        vm.warp(block.timestamp + (seconds_ >> 8) % most);
    }

    /// The seconds around a deadline are where mistakes are.
    function _reach(uint256 time, uint256 seed) internal {
        uint256 edge = time + seed % 3;
        if (edge > block.timestamp + 1) vm.warp(edge - 1);
    }

    function the_token_blocks(uint256 who, bool blocked) external {
        token.setBlocked(actor(who), blocked);
    }

    /// Upwards only: a token that takes from its holders makes every book too long, and no contract can help that.
    function the_token_rebases(uint256 by) external {
        uint256 before = token.balanceOf(books);
        // Seldom, so that most worlds end with a token that can still pay everybody exactly.
        if (by % 64 == 0 && token.index() < 1e24) token.rebase(token.index() + by % (token.index() / 8));
        surplus += token.balanceOf(books) - before;
    }

    // ── Below ──

    function keyOfActor(uint256 who) internal pure returns (uint256) {
        return 0xac7 + who % ACTORS;
    }

    function actor(uint256 who) internal view returns (address) {
        return _actors[who % ACTORS];
    }

    function held() public view returns (uint256) {
        return token.balanceOf(books);
    }

    /// Acts as somebody, under a mood of the token that the seed gives.
    function act(address caller, uint256 seed, bytes memory call_)
        internal
        returns (bool success, bytes memory answer)
    {
        bool calm = !_setMood(seed);
        vm.prank(caller);
        (success, answer) = books.call(call_);
        if (!calm) _calm();
    }

    /// What the token enters in the middle of a transfer; those that inherit know what would hurt.
    function _reentry(uint256 seed) internal view virtual returns (bytes memory);

    function _setMood(uint256 seed) private returns (bool hostile) {
        uint256 mood = uint256(keccak256(abi.encode(seed, "mood"))) % 24;
        if (mood == 0) token.takeFees(100, 0);
        else if (mood == 1) token.takeFees(0, 100);
        else if (mood == 2) token.answer(true, false, false);
        else if (mood == 3) token.answer(false, true, false);
        else if (mood == 4) token.answer(false, false, true);
        else if (mood == 5) token.callDuringTransfer(books, _reentry(seed));
        return mood < 6;
    }

    function _calm() private {
        token.takeFees(0, 0);
        token.answer(false, false, false);
        token.callDuringTransfer(address(0), "");
    }
}

/// Tells forge which contract to call at random, and what must hold when it has.
abstract contract Watched is Checks {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_world());
    }

    /// What is asked of a world is no act in it.
    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector(address(_world()), new bytes4[](2));
        excluded[0].selectors[0] = Hostility.check_books.selector;
        excluded[0].selectors[1] = Hostility.check_end.selector;
    }

    function afterInvariant() external {
        if (_world().tokenIsExact()) _world().check_end();
    }

    function _world() internal view virtual returns (Hostility);
}
