// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// A Merkle tree over leaves in their order; a leaf without a neighbour goes up as it is.
library Tree {
    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        bytes32[] memory row = leaves;
        while (row.length > 1) row = _above(row);
        return row[0];
    }

    function proof(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory out) {
        bytes32[] memory row = leaves;
        while (row.length > 1) {
            uint256 neighbour = index ^ 1;
            if (neighbour < row.length) out = _with(out, row[neighbour]);
            (row, index) = (_above(row), index / 2);
        }
    }

    function _above(bytes32[] memory row) private pure returns (bytes32[] memory above) {
        above = new bytes32[]((row.length + 1) / 2);
        for (uint256 index = 0; index < above.length; ++index) {
            bytes32 left = row[2 * index];
            if (2 * index + 1 == row.length) {
                above[index] = left;
                continue;
            }
            bytes32 right = row[2 * index + 1];
            above[index] =
                left < right ? keccak256(abi.encode(left, right)) : keccak256(abi.encode(right, left));
        }
    }

    function _with(bytes32[] memory list, bytes32 last) private pure returns (bytes32[] memory longer) {
        longer = new bytes32[](list.length + 1);
        for (uint256 index = 0; index < list.length; ++index) {
            longer[index] = list[index];
        }
        longer[list.length] = last;
    }
}
