// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Hostility, Watched} from "./Hostility.sol";
import {Digests} from "../base/Digests.sol";
import {PaymentChannels} from "../../src/PaymentChannels.sol";

/// Everybody pays everybody, by vouchers that are good, old, too large or forged.
contract ChannelsWorld is Hostility {
    PaymentChannels public channels;
    uint256 public deposited;
    uint256 public withdrawn;
    /// The largest total that a key which might pay ever signed, and the largest that was seen claimed.
    mapping(uint256 channel => uint256 total) private _signed;
    mapping(uint256 channel => uint256 total) private _claimed;
    /// Until when a payer's hot keys must be good, by what it did and not by what the contract remembers.
    mapping(address payer => mapping(address signer => uint256 time)) private _goodUntil;

    constructor() {
        channels = new PaymentChannels(_begin(), 1 days);
        _watch(address(channels));
    }

    function deposit(uint256 who, uint256 to, uint96 amount) external {
        amount %= 1e9;
        (bool success,) = act(actor(who), amount, abi.encodeCall(channels.deposit, (actor(to), amount)));
        if (success) deposited += amount;
    }

    /// Too late every fourth time; what was allowed before is then still allowed.
    function deposit_with_permit(uint256 who, uint96 amount, uint256 seed) external {
        amount %= 1e9;
        uint256 deadline = seed % 4 == 0 ? block.timestamp - 1 : block.timestamp;
        (bool success,) = act(
            actor(who), seed, abi.encodeCall(channels.depositWithPermit, (amount, deadline, 27, "r", "s"))
        );
        if (success) deposited += amount;
        vm.prank(actor(who));
        token.approve(address(channels), type(uint256).max);
    }

    function deposit_with_authorization(uint256 caller, uint256 from, uint256 to, uint96 amount, uint8 salt)
        external
    {
        amount %= 1e9;
        address payee = to % 3 == 0 ? address(0) : actor(to);
        bytes32 nonce = keccak256(abi.encode(payee, bytes32(uint256(salt))));
        bool used = token.authorizationState(actor(from), nonce);
        (bool success,) = act(
            actor(caller),
            amount,
            abi.encodeCall(
                channels.depositWithAuthorization,
                (
                    actor(from),
                    payee,
                    amount,
                    block.timestamp - 1,
                    block.timestamp + 1,
                    bytes32(uint256(salt)),
                    27,
                    "r",
                    "s"
                )
            )
        );
        if (success) deposited += amount;
        check(!success || !used, "an authorisation is good once");
    }

    function withdraw(uint256 who, uint256 to, uint96 amount) external {
        amount = _part(amount, channels.freeOf(actor(who)));
        (bool success,) = act(actor(who), amount, abi.encodeCall(channels.withdraw, (actor(to), amount)));
        if (success) withdrawn += amount;
    }

    function reserve(uint256 who, uint256 to, uint96 amount) external {
        amount = _part(amount, channels.freeOf(actor(who)));
        act(actor(who), amount, abi.encodeCall(channels.reserve, (actor(to), amount)));
    }

    function reserve_many(uint256 who, uint256 seed) external {
        PaymentChannels.Reservation[] memory many = new PaymentChannels.Reservation[](seed % 5);
        for (uint256 index = 0; index < many.length; ++index) {
            uint256 random = uint256(keccak256(abi.encode(seed, index)));
            uint96 amount = _part(uint96(random), channels.freeOf(actor(who)));
            many[index] = PaymentChannels.Reservation(actor(random >> 100), amount / 3);
        }
        act(actor(who), seed, abi.encodeCall(channels.reserveMany, (many)));
    }

    function thaw(uint256 who, uint256 to) external {
        act(actor(who), to, abi.encodeCall(channels.thaw, (actor(to))));
    }

    function unreserve(uint256 who, uint256 to) external {
        PaymentChannels.Channel memory before = channels.channelOf(actor(who), actor(to));
        (bool success,) = act(actor(who), to, abi.encodeCall(channels.unreserve, (actor(to))));
        bool due = before.thawedAt != 0 && before.thawedAt <= block.timestamp;
        check(!success || due, "nothing is taken back before its thaw");
        check(success || !due || before.ceiling == before.claimed, "what has thawed comes back");
    }

    function release(uint256 who, uint256 from) external {
        act(actor(who), from, abi.encodeCall(channels.release, (actor(from))));
    }

    function authorize_signer(uint256 who, uint256 signer) external {
        (bool success,) = act(actor(who), signer, abi.encodeCall(channels.authorizeSigner, (actor(signer))));
        if (success) _goodUntil[actor(who)][actor(signer)] = type(uint256).max;
    }

    function authorize_signer_by_signature(uint256 who, uint256 signer, uint256 signs, bool late) external {
        uint256 nonce = channels.nonces(actor(who));
        uint256 deadline = late ? block.timestamp - 1 : block.timestamp;
        bytes32 digest = Digests.authorization(channels, actor(who), actor(signer), nonce, deadline);
        bytes memory signature = signLong(keyOfActor(signs), digest);
        (bool success,) = act(
            actor(signer),
            signs,
            abi.encodeCall(
                channels.authorizeSignerBySignature, (actor(who), actor(signer), deadline, signature)
            )
        );
        if (!success) return;
        check(actor(signs) == actor(who) && !late, "only the payer lets a key sign, and in time");
        _goodUntil[actor(who)][actor(signer)] = type(uint256).max;
    }

    function revoke_signer(uint256 who, uint256 signer) external {
        (bool success,) = act(actor(who), signer, abi.encodeCall(channels.revokeSigner, (actor(signer))));
        if (success) _goodUntil[actor(who)][actor(signer)] = block.timestamp + 1 days;
    }

    function claim(uint256 from, uint256 to, uint256 signer, uint96 cumulative) external {
        PaymentChannels.Channel memory before = channels.channelOf(actor(from), actor(to));
        cumulative = _total(cumulative, before.ceiling);
        bool good = _signs(from, to, signer, cumulative);
        (bytes32 r, bytes32 vs) = _sign(from, to, signer, cumulative);
        (bool success,) = act(
            actor(cumulative),
            signer,
            abi.encodeCall(channels.claim, (actor(from), actor(to), cumulative, r, vs))
        );
        // Whatever the payer has done: a voucher that says more, below a ceiling that allows it, is money.
        bool more = cumulative > before.claimed && before.ceiling > before.claimed;
        check(success == (good && more), "a good voucher is paid, and no other");
    }

    function claim_packed(uint256 to, uint256 seed) external {
        bytes memory packed;
        for (uint256 index = 0; index <= seed % 6; ++index) {
            uint256 random = uint256(keccak256(abi.encode(seed, index)));
            (uint256 from, uint256 signer) = (random >> 8, random >> 16);
            uint96 cumulative =
                _total(uint96(random >> 32), channels.channelOf(actor(from), actor(to)).ceiling);
            _signs(from, to, signer, cumulative);
            (bytes32 r, bytes32 vs) = _sign(from, to, signer, cumulative);
            if (random & 7 == 0) r ^= bytes32(uint256(1));
            packed = bytes.concat(packed, abi.encodePacked(actor(from), cumulative, r, vs));
        }
        act(actor(seed), seed, abi.encodeCall(channels.claimPacked, (actor(to), packed)));
    }

    function time_reaches_a_thaw(uint256 who, uint256 to, uint256 seed) external {
        if (seed % 2 == 0) {
            _reach(channels.channelOf(actor(who), actor(to)).thawedAt, seed >> 1);
        } else if (_goodUntil[actor(who)][actor(to)] < type(uint256).max) {
            _reach(_goodUntil[actor(who)][actor(to)], seed >> 1);
        }
    }

    // ── What must hold ──

    function check_books() external override {
        uint256 sum = 0;
        for (uint256 from = 0; from < ACTORS; ++from) {
            sum += channels.freeOf(actor(from));
            for (uint256 to = 0; to < ACTORS; ++to) {
                PaymentChannels.Channel memory channel = channels.channelOf(actor(from), actor(to));
                check(channel.claimed <= channel.ceiling, "no claim above its ceiling");
                uint256 name = from * ACTORS + to;
                check(channel.claimed >= _claimed[name], "no claim is forgotten");
                check(channel.claimed <= _signed[name], "no claim beyond what was signed");
                _claimed[name] = channel.claimed;
                sum += channel.ceiling - channel.claimed;
            }
        }
        checkEqual(sum + withdrawn, deposited, "free, reserved and withdrawn are what was deposited");
        checkEqual(held(), sum + surplus, "the token is there");
    }

    /// Whatever has happened: payers get back what nobody claimed, and everybody can withdraw.
    function check_end() external override {
        for (uint256 who = 0; who < ACTORS; ++who) {
            token.setBlocked(actor(who), false);
            for (uint256 from = 0; from < ACTORS; ++from) {
                PaymentChannels.Channel memory channel = channels.channelOf(actor(from), actor(who));
                if (channel.ceiling == channel.claimed) continue;
                vm.prank(actor(who));
                channels.release(actor(from));
            }
        }
        for (uint256 who = 0; who < ACTORS; ++who) {
            uint256 free = channels.freeOf(actor(who));
            if (free == 0) continue;
            vm.prank(actor(who));
            channels.withdraw(actor(who), uint96(free));
        }
        checkEqual(held(), 0, "nothing is left behind");
    }

    // ── Below ──

    /// Notes a signature by a key that may pay; says whether it may.
    function _signs(uint256 from, uint256 to, uint256 signer, uint96 cumulative) private returns (bool good) {
        address key = actor(signer);
        good = key == actor(from) || block.timestamp < _goodUntil[actor(from)][key];
        uint256 name = (from % ACTORS) * ACTORS + to % ACTORS;
        if (good && cumulative > _signed[name]) _signed[name] = cumulative;
    }

    function _sign(uint256 from, uint256 to, uint256 signer, uint96 cumulative)
        private
        view
        returns (bytes32, bytes32)
    {
        bytes32 digest = channels.voucherDigest(actor(from), actor(to), cumulative);
        return signShort(keyOfActor(signer), digest);
    }

    /// Mostly within what there is, sometimes beyond.
    function _part(uint96 amount, uint256 whole) private pure returns (uint96) {
        return uint96(amount % (whole + whole / 8 + 2));
    }

    function _total(uint96 random, uint96 ceiling) private pure returns (uint96) {
        return _part(random, ceiling);
    }

    function _reentry(uint256 seed) internal view override returns (bytes memory) {
        if (seed % 3 == 0) return abi.encodeCall(channels.deposit, (actor(seed), 1));
        if (seed % 3 == 1) return abi.encodeCall(channels.withdraw, (actor(seed), 1));
        return abi.encodeCall(channels.release, (actor(seed)));
    }
}

contract ChannelsInvariants is Watched {
    ChannelsWorld private world;

    function setUp() external {
        world = new ChannelsWorld();
    }

    function invariant_deposits_are_free_reserved_or_withdrawn() external {
        world.check_books();
    }

    function _world() internal view override returns (Hostility) {
        return world;
    }
}
