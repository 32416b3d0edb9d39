// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";

/// What every test has at hand. A check that fails reverts: forge counts the test as failed, and names why.
abstract contract Checks {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// A time that is nothing special, so that no test rests on time being small.
    uint256 internal constant NOW = 1_790_000_000;

    error NotTrue(string what);
    error NotEqual(string what, uint256 is_, uint256 wanted);
    error AboveMost(string what, uint256 is_, uint256 most);

    function check(bool condition, string memory what) internal pure {
        if (!condition) revert NotTrue(what);
    }

    function checkEqual(uint256 is_, uint256 wanted, string memory what) internal pure {
        if (is_ != wanted) revert NotEqual(what, is_, wanted);
    }

    function checkAtMost(uint256 is_, uint256 most, string memory what) internal pure {
        if (is_ > most) revert AboveMost(what, is_, most);
    }

    function between(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }

    /// A key for a name; its account is `accountOf` the same.
    function keyOf(string memory name) internal pure returns (uint256) {
        return uint256(keccak256(bytes(name)));
    }

    function accountOf(string memory name) internal pure returns (address) {
        return vm.addr(keyOf(name));
    }

    /// ERC-2098: v in the highest bit of s.
    function signShort(uint256 key, bytes32 digest) internal pure returns (bytes32 r, bytes32 vs) {
        uint8 v;
        bytes32 s;
        (v, r, s) = vm.sign(key, digest);
        vs = s | bytes32(uint256(v - 27) << 255);
    }

    function signLong(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
